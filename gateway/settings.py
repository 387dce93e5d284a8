"""What the gateway reads from its environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from libs.settings import CommaList, CommonSettings, config

Choice = Literal["auto", "allow", "deny"]


class Settings(CommonSettings):
    model_config = config("GATEWAY_")

    port: int = Field(8000, description="Port to listen on.")

    auth_urls: CommaList = Field(
        default_factory=lambda: ["http://127.0.0.1:8001"], description="Addresses of auth's processes, comma separated."
    )
    chat_urls: CommaList = Field(
        default_factory=lambda: ["http://127.0.0.1:8002"], description="Addresses of chat's processes."
    )
    socket_urls: CommaList = Field(
        default_factory=list, description="Addresses of the chat processes for sockets and streams; empty: chat's."
    )
    notify_urls: CommaList = Field(
        default_factory=lambda: ["http://127.0.0.1:8003"], description="Addresses of notify's processes."
    )

    country_database: Path | None = Field(
        None,
        description="Country database (.mmdb: GeoLite2, DB-IP or flat). A replaced file is taken up.",
    )
    country_allow: CommaList = Field(
        default_factory=list, description="If set, only callers from these countries (ISO codes) are let in."
    )
    country_deny: CommaList = Field(default_factory=list, description="Callers from these countries are refused.")
    country_exempt: CommaList = Field(
        default_factory=list, description="Networks that are let in whatever their country."
    )
    country_unknown: Choice = Field(
        "auto", description="Callers of no known country. `auto`: let in, unless there is a list of allowed countries."
    )
    country_private: Choice = Field(
        "auto", description="Callers with local addresses. `auto`: let in when the connection itself is local."
    )

    limit_ip: str = Field("100/s burst 200", description="Calls of one address (of one /64 network with IPv6).")
    limit_user: str = Field("50/s burst 100", description="Calls of one account.")
    limit_costly: str = Field("20/min", description="Calls of one account that hash passwords or codes.")
    limit_login: str = Field("10/min", description="Sign-ins from one address.")
    limit_register: str = Field("20/min", description="Registrations from one address.")
    limit_refresh: str = Field(
        "120/min", description="Token refreshes from one address; auth also limits each session."
    )
    limit_recover: str = Field("20/min", description="Requests for codes and new passwords from one address.")
    limit_upload: str = Field("30/min", description="Uploads of one account.")
    limit_socket: str = Field("20/min", description="New sockets from one address.")
    limit_hooks: str = Field("200/s burst 1000", description="Webhook calls of one provider address.")
    exempt_networks: CommaList = Field(
        default_factory=list,
        description="Networks that limits per address spare, such as a frontend server that calls for many users.",
    )
    replicas: int = Field(
        1, ge=1, description="Gateway processes behind one address: they share the limits while Redis is away."
    )
    redis_budget_ms: int = Field(
        50, ge=1, description="How long a request waits for Redis before limits are counted by this process alone."
    )

    header_seconds: float = Field(10.0, description="Time in which the head of a request must have arrived.")
    body_seconds: float = Field(
        30.0, description="Grace for a request's body; after it, it must average 1 KiB a second."
    )
    answer_seconds: float = Field(30.0, description="Time in which a service must begin its answer.")
    stream_seconds: float = Field(75.0, description="Longest silence within an answer.")
    socket_seconds: float = Field(60.0, description="Longest silence on a socket, both ways.")
    keep_alive_seconds: float = Field(75.0, description="How long an idle connection of a client is kept.")

    @model_validator(mode="after")
    def _countries_need_a_database(self) -> "Settings":
        if (self.country_allow or self.country_deny) and self.country_database is None:
            raise ValueError("GATEWAY_COUNTRY_ALLOW and GATEWAY_COUNTRY_DENY need GATEWAY_COUNTRY_DATABASE.")
        return self
