"""What auth reads from its environment."""

from typing import Literal

from pydantic import Field, SecretStr

from libs.settings import ServiceSettings, config


class Settings(ServiceSettings):
    model_config = config("AUTH_")

    port: int = Field(8001, description="Port to listen on.")

    email_verification: Literal["optional", "required"] = Field(
        "optional",
        description="`optional`: accounts work at once. `required`: nobody signs in before following the link in the"
        " mail, and registering tells nobody whether an address is known.",
    )
    refresh_keys: SecretStr = Field(
        SecretStr("0:HxwdGhsYGRYXFBUSExAREg8NDgsMCQoHCAUGAwQBAgA"),
        description="Keys of refresh tokens: `number:base64url of 32 bytes`, comma separated, the current one first."
        " Numbers are 0 to 255. A key that is removed ends the sessions that were last refreshed with it.",
    )
    hashing_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads that hash passwords, about 19 MiB of memory each while at work. 0: one a core.",
    )
