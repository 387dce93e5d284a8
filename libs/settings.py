"""What every service reads from its environment (or a `.env` file). Read once, at the edge, and handed down as values.

A service derives its `Settings` and sets a prefix for its own fields. Fields that are the same for all services have
fixed names. Each field has a description: together they are `docs/settings.md`.
"""

import sys
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self, TypeVar

from pydantic import AfterValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from libs.origins import origin


def _without_password(url: str) -> str:
    # It would be shown wherever the address is: in logs and traces, and to those who may look at settings.
    if "@" in url:
        raise ValueError("the address of a service holds no user and no password; write it as http://host:port")
    return url


CommaList = Annotated[list[str], NoDecode]
ServiceUrl = Annotated[str, AfterValidator(_without_password)]
"""Where one of our services answers the others."""
Read = TypeVar("Read", bound=BaseSettings)


class SettingsRefused(ValueError):
    """What cannot be meant. The text is one line and names the variables."""


def read(kind: type[Read]) -> Read:
    """From the environment. What cannot be meant ends the process with one line; a traceback would show secrets."""
    try:
        return kind()
    except ValidationError as error:
        stop("; ".join(_reason(kind, each) for each in error.errors()))
    except SettingsRefused as error:
        stop(str(error))


def stop(reason: str) -> NoReturn:
    sys.exit(f"The settings are refused. {reason}")


def variable(kind: type[BaseSettings], name: str) -> str:
    """The environment variable of a field."""
    alias = kind.model_fields[name].validation_alias
    return str(alias) if alias else f"{kind.model_config.get('env_prefix', '')}{name}".upper()


def _reason(kind: type[BaseSettings], error: ErrorDetails) -> str:
    # Never `input`: of what hangs on several settings that is all of them.
    said = str(error.get("ctx", {}).get("error") or error["msg"])
    place = error["loc"]
    if not place:
        return said
    name = str(place[0])
    return f"{variable(kind, name) if name in kind.model_fields else name}: {said}"


def config(prefix: str) -> SettingsConfigDict:
    return SettingsConfigDict(
        env_prefix=prefix, env_file=".env", extra="ignore", validate_by_name=True, validate_by_alias=True
    )


class CommonSettings(BaseSettings):
    """Read by all four services."""

    model_config = config("")

    environment: Literal["production", "development"] = Field(
        "production",
        validation_alias="PARLEY_ENVIRONMENT",
        description="`development` allows the default secrets and demo users; anything else is production.",
    )
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        validation_alias="REDIS_URL",
        description="The Redis or Valkey that all services share.",
    )
    key_ring: Path = Field(
        Path(".parley/keys.json"),
        validation_alias="PARLEY_KEY_RING",
        description="File with the signing keys; reloaded when it changes. Written by `auth rotate-keys`.",
    )
    jwks_url: ServiceUrl | None = Field(
        None,
        validation_alias="PARLEY_JWKS_URL",
        description="Where to fetch the public keys of access tokens (ES256). Without it the key ring file has them.",
    )
    auth_url: ServiceUrl = Field(
        "http://127.0.0.1:8001",
        validation_alias="PARLEY_AUTH_URL",
        description="Address of auth for internal calls.",
    )
    cors_origins: CommaList = Field(
        default_factory=list,
        validation_alias="PARLEY_CORS_ORIGINS",
        description="Comma separated origins whose pages may call the API and open sockets from a browser, as `https://app.example.com`.",
    )
    public_url: str | None = Field(
        None,
        validation_alias="PARLEY_PUBLIC_URL",
        description="Where clients reach the gateway, as `https://api.example.com`. Its own pages may open sockets and"
        " send cookies; sign-in providers send people back to it, and mails lead to it those who want no more of them.",
    )
    trusted_proxies: CommaList = Field(
        default_factory=list,
        validation_alias="PARLEY_TRUSTED_PROXIES",
        description="Comma separated networks whose `X-Forwarded-For` and `X-Request-Id` are believed. Default: none.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", validation_alias="PARLEY_LOG_LEVEL", description="Least level that is logged."
    )
    log_format: Literal["json", "console"] = Field(
        "json", validation_alias="PARLEY_LOG_FORMAT", description="`json` for machines, `console` for people."
    )
    otlp_endpoint: str | None = Field(
        None,
        validation_alias="PARLEY_OTLP_ENDPOINT",
        description="OpenTelemetry collector (OTLP over HTTP), as `http://collector:4318`. Without it: no traces.",
    )
    max_body_bytes: int = Field(
        1 << 20,
        validation_alias="PARLEY_MAX_BODY_BYTES",
        description="Longest request body, in bytes; over it 413.",
    )
    drain_seconds: float = Field(
        3.0,
        ge=0,
        validation_alias="PARLEY_DRAIN_SECONDS",
        description="How long connections that rest stay open once the process was told to stop: a request that is on"
        " its way is still answered, and told to come back by another connection.",
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(0, description="Port to listen on.")
    metrics_port: int = Field(
        0,
        description="Port of the Prometheus metrics, on the same address but never behind the gateway; 0: none.",
    )

    @cached_property
    def own_origins(self) -> frozenset[str]:
        """Whose pages are ours: those that may call, and those of the gateway itself. Raises ValueError."""
        own = [*self.cors_origins, *([self.public_url] if self.public_url else [])]
        return frozenset(origin(each) for each in own)

    @model_validator(mode="before")
    @classmethod
    def _split_lists(cls, values: dict[str, object]) -> dict[str, object]:
        names = {
            alias
            for name, field in cls.model_fields.items()
            if field.annotation == list[str]
            for alias in (name, field.validation_alias)
        }
        return {
            key: [part.strip() for part in value.split(",") if part.strip()]
            if key in names and isinstance(value, str)
            else value
            for key, value in values.items()
        }

    @model_validator(mode="after")
    def _require_origins(self) -> Self:
        # Made once, here, where it can still say what is wrong with them.
        _ = self.own_origins
        return self

    @model_validator(mode="after")
    def _refuse_default_secrets(self) -> Self:
        if self.environment == "development":
            return self
        for name, field in type(self).model_fields.items():
            value = getattr(self, name)
            if isinstance(value, SecretStr) and value == field.default:
                raise ValueError(f"{variable(type(self), name)} still has its default value, which is public; set it")
        return self


class ServiceSettings(CommonSettings):
    """Read by the services that have a database."""

    database_url: SecretStr = Field(
        SecretStr("postgresql://parley:parley@127.0.0.1:5432/parley"),
        description="This service's own PostgreSQL database (15 or later), as `postgresql://user:password@host:port/name`.",
    )
    database_pool_size: int = Field(10, description="Most database connections of one process.")
    slow_query_ms: int = Field(
        200,
        validation_alias="PARLEY_SLOW_QUERY_MS",
        description="Statements that take longer are logged, without values.",
    )
    field_keys: SecretStr = Field(
        SecretStr("dev:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"),
        validation_alias="PARLEY_FIELD_KEYS",
        description="Keys for encrypted fields: `kid:base64url of 32 bytes`, comma separated, the current one first.",
    )
