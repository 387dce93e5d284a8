"""What the gateway reads from its environment."""

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from libs.settings import CommaList, CommonSettings, SettingsRefused, config, variable

_MOVED = ("GATEWAY_LIMIT_", "GATEWAY_COUNTRY_")


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

    in_flight: int = Field(
        256, ge=1, description="Calls of one process of a service that may wait for its answer; more are refused."
    )
    probe_seconds: float = Field(
        5.0, ge=0, description="How often each process of a service is asked whether it lives; 0: never."
    )

    policy_file: Path | None = Field(
        None,
        description="YAML file that changes limits, rules for countries and routes; taken up when it changes.",
    )
    country_database: Path | None = Field(
        None,
        description="Country database (.mmdb: GeoLite2, DB-IP or flat). A replaced file is taken up.",
    )
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

    usage_seconds: float = Field(
        60.0,
        ge=0,
        description="How often auth is told who called how often. A process that is killed loses what came since."
        " 0: not counted.",
    )

    header_seconds: float = Field(10.0, description="Time in which the head of a request must have arrived.")
    body_seconds: float = Field(
        30.0, description="Grace for a request's body; after it, it must average 1 KiB a second."
    )
    answer_seconds: float = Field(
        30.0, description="Time in which a service must take more of a body, and begin its answer."
    )
    stream_seconds: float = Field(75.0, description="Longest silence within an answer.")
    socket_seconds: float = Field(60.0, description="Longest silence on a socket, both ways.")
    keep_alive_seconds: float = Field(75.0, description="How long an idle connection of a client is kept.")

    hosts: CommaList = Field(
        default_factory=list,
        description="Names under which the gateway is called, as `api.example.com,*.example.com`; others get 421."
        " Empty: any. Health checks may come by any name.",
    )
    https: Literal["off", "on"] = Field(
        "off",
        description="`on`: TLS ends in front, at a trusted proxy that sets `X-Forwarded-Proto`. What came in clear is"
        " sent to https, and browsers are told to stay there (HSTS).",
    )
    proxy_protocol: CommaList = Field(
        default_factory=list,
        description="Networks of load balancers that begin each connection with the PROXY protocol (version 1 or 2)."
        " They must; nobody else may. Default: none.",
    )
    cloudflare_networks: CommaList = Field(
        default_factory=list,
        description="Networks of Cloudflare, whose `CF-Connecting-IP` names the caller. Default: none.",
    )
    max_connections: int = Field(10_000, ge=1, description="Connections at once, sockets among them; above it 503.")
    max_connections_per_address: int = Field(
        200,
        ge=1,
        description="Connections of one address at once (of one /64 network with IPv6); above it 429."
        " Trusted proxies and exempt networks are spared.",
    )
    max_sockets_per_address: int = Field(
        50, ge=1, description="Sockets of one caller's address at once; above it 429. Exempt networks are spared."
    )
    shed_lag_ms: int = Field(
        50,
        ge=0,
        description="How late the event loop may be before requests that can wait (search, exports, documents) are"
        " answered 503; five times as late, and only sign-in and messages are served. 0: never.",
    )
    max_requests: int = Field(
        4096,
        ge=1,
        description="Requests at the services at once, sockets and streams aside; above it, what can wait gets 503.",
    )

    @classmethod
    def settings_customise_sources(  # noqa: PLR0917  -- as pydantic has it
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Raises SettingsRefused for what is no variable any more: a limit that nobody reads protects nobody."""
        known = {variable(settings_cls, name) for name in settings_cls.model_fields}
        read = [source.env_vars for source in (env_settings, dotenv_settings) if isinstance(source, EnvSettingsSource)]
        names = {name.upper() for names in read for name in names} - known
        if moved := sorted(name for name in names if name.startswith(_MOVED)):
            raise SettingsRefused(
                f"{', '.join(moved)}: limits and rules for countries have moved into the policy file, which"
                " GATEWAY_POLICY_FILE names"
            )
        return init_settings, env_settings, dotenv_settings, file_secret_settings
