"""What people choose about being seen, and about how their client looks."""

from typing import Literal

from pydantic import ConfigDict, Field

from auth_service.domain.visibility import Audience
from libs.shapes import Body


class Privacy(Body):
    """Who sees what. In a change only what is sent changes."""

    model_config = ConfigDict(from_attributes=True)

    last_seen: Audience = Field("everyone", description="When I was here last.")
    online: Audience = Field("everyone", description="Whether I am here now.")
    email: Audience = Field("nobody", description="My e-mail address: who sees it, and who finds me by it.")
    phone: Audience = Field("nobody", description="My phone number: who sees it, and who finds me by it.")
    profile: Audience = Field("everyone", description="Names, picture, about, language and time zone.")
    read_receipts: bool = Field(default=True, description="Whether others learn what I have read.")


class Preferences(Body):
    """How clients look, the same on all devices. In a change only what is sent changes."""

    theme: Literal["system", "light", "dark"] = "system"
    time_format: Literal["24h", "12h"] = "24h"
    week_start: Literal["monday", "saturday", "sunday"] = "monday"
    reduced_motion: bool = False
    enter_sends: bool = True
