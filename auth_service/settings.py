"""What auth reads from its environment."""

from typing import Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from libs.settings import CommaList, ServiceSettings, ServiceUrl, config

_SECRET_CHARS = 12
EXAMPLE_SECRET = "replace-this-secret"  # noqa: S105  -- what the example file has, and nobody may use


class Settings(ServiceSettings):
    model_config = config("AUTH_")

    port: int = Field(8001, description="Port to listen on.")
    chat_url: ServiceUrl = Field(
        "http://127.0.0.1:8002",
        validation_alias="PARLEY_CHAT_URL",
        description="Address of chat for internal calls.",
    )
    notify_url: ServiceUrl = Field(
        "http://127.0.0.1:8003",
        validation_alias="PARLEY_NOTIFY_URL",
        description="Address of notify for internal calls.",
    )
    audit_keep_days: int = Field(
        400,
        ge=92,
        description="How long the audit log is kept; whole months are dropped. Users see their own last 90 days.",
    )

    usage_keep_days: int = Field(
        90, ge=1, le=3650, description="How long the log of API calls by user, hour and route is kept."
    )

    admin_phone: str | None = Field(
        None,
        validation_alias="PROJECT_ADMIN_DETAIL",
        description="Phone number of the first administrator, who is made when auth starts and nobody has the number."
        " Later changes of these two variables change nothing.",
    )
    admin_secret: SecretStr | None = Field(
        None,
        validation_alias="PROJECT_ADMIN_DEFAULT_SECRET",
        description="The first administrator's password, to be changed at the first sign-in. Outside development at"
        f" least 12 characters, and not the `{EXAMPLE_SECRET}` of the example.",
    )
    demo_users: int = Field(
        0,
        ge=0,
        le=99,
        description="Development only: so many users `demo01` ... with public passwords `Parley-demo-01` ... are made"
        " when auth starts.",
    )

    email_verification: Literal["optional", "required"] = Field(
        "optional",
        description="`optional`: accounts work at once. `required`: nobody signs in before following the link in the"
        " mail, and registering tells nobody whether an address is known.",
    )
    existing_clients: CommaList = Field(
        default_factory=lambda: ["sender", "hub", "rooms"],
        description="Families of existing clients whose calls are answered, comma separated: `sender`, `hub`, `rooms`.",
    )
    refresh_keys: SecretStr = Field(
        SecretStr("0:HxwdGhsYGRYXFBUSExAREg8NDgsMCQoHCAUGAwQBAgA"),
        description="Keys of refresh tokens: `number:base64url of 32 bytes`, comma separated, the current one first."
        " Numbers are 0 to 255. A key that is removed ends the sessions that were last refreshed with it.",
    )
    key_rotation_days: int = Field(
        30,
        ge=0,
        le=3650,
        description="So many days a key signs access tokens before the worker lets the next one sign. It has to write"
        " `PARLEY_KEY_RING`, and everybody else has to read that file or `PARLEY_JWKS_URL`. 0: rotated by hand only.",
    )
    password_profile: Literal["standard", "nist"] = Field(
        "standard",
        description="`standard`: passwords have at least 8 characters. `nist`: at least 15 where the account has no"
        " second factor (NIST SP 800-63B-4).",
    )
    hibp_url: str | None = Field(
        None,
        description="A range API of Have I Been Pwned, as `https://api.pwnedpasswords.com/range`: new passwords that"
        " were in a breach are refused. It sees five hex digits of a hash, and its failure refuses nobody.",
    )
    sessions_per_user: int = Field(
        20,
        ge=1,
        le=1000,
        description="Most sessions of one user. A sign-in beyond ends the one that was idle longest, and a mail"
        " tells its owner.",
    )
    adaptive: Literal["off", "mail", "step_up"] = Field(
        "mail",
        description="What follows a sign-in from a country that the account was not used from in the last 90 days."
        " `mail`: its owner is told. `step_up`: an account without a second factor needs a code from its confirmed"
        " mailbox, for which existing clients do not ask.",
    )
    proof_of_work_bits: int = Field(
        0,
        ge=0,
        le=30,
        description="Work that a sign-in must show after repeated failures, on a device that the account does not know:"
        " so many zero bits of a SHA-256. 18 takes a browser about a second. 0: none; existing clients cannot do it.",
    )
    product_name: str = Field("Parley", description="What authenticator apps and passkey dialogs call this product.")
    webauthn_rp_id: str = Field(
        "localhost",
        description="The domain that passkeys are bound to, as `example.com`. Changing it makes all passkeys useless.",
    )
    webauthn_origins: CommaList = Field(
        default_factory=lambda: ["http://localhost:8000"],
        description="Comma separated origins of the pages that may ask for passkeys, as `https://app.example.com`; each"
        " below `AUTH_WEBAUTHN_RP_ID`.",
    )
    hashing_threads: int = Field(
        0,
        ge=0,
        le=256,
        description="Threads that hash passwords, about 19 MiB of memory each while at work. 0: one a core.",
    )
    hashing_memory_kib: int = Field(
        19_456,
        ge=8,
        le=1 << 20,
        description="Memory of one argon2id hash. Hashes of another cost are replaced at the next sign-in.",
    )
    hashing_rounds: int = Field(
        2,
        ge=1,
        le=10,
        description="Rounds of one argon2id hash. Less than OWASP recommends is for development only.",
    )
    hashing_wait_seconds: float = Field(
        2.0,
        gt=0,
        le=60,
        description="So long a sign-in may wait for one of these threads before it is told to come back.",
    )
    providers: SecretStr | None = Field(
        None,
        description="Sign-in providers, a JSON list of `{name, kind, client_id, client_secret}` with `kind` one of"
        " `facebook`, `google`, `github`, `apple`, `microsoft`, `oidc`; see docs/api.md.",
    )
    return_urls: CommaList = Field(
        default_factory=list,
        description="Comma separated pages that a sign-in provider may lead back to, each to the letter, as"
        " `https://app.example.com/signed-in`.",
    )
    provider_private_networks: bool = Field(
        default=False,
        description="Whether sign-in providers may be at private addresses and speak plain HTTP, as in development.",
    )
    deletion_grace_days: int = Field(
        14, ge=0, le=365, description="Days in which an account that its owner deleted can be taken back."
    )
    avatar_hosts: CommaList = Field(
        default_factory=list,
        description="Comma separated hosts at which pictures of people may lie, as `images.example.com`. They are never"
        " fetched by the server. Default: none, so nobody sets a picture.",
    )

    @field_validator("existing_clients")
    @classmethod
    def _know_clients(cls, names: list[str]) -> list[str]:
        if set(names) - {"sender", "hub", "rooms"}:
            raise ValueError("Existing clients are sender, hub and rooms.")
        return names

    code_digits: int = Field(6, ge=6, le=8, description="Digits of a code that is texted to a phone.")
    sms_countries: CommaList = Field(
        default_factory=list,
        description="Comma separated countries whose phones get codes: regions as `DE`, calling codes as `+49`."
        " Default: all, but premium, satellite and other numbers that cost extra or that no person has, which are never"
        " sent anything. To others nothing is sent, and who asks is not told.",
    )
    sms_prefix_budget: int = Field(
        1000, ge=0, description="Texts a day to each calling code without a budget of its own; more are not sent."
    )
    sms_prefix_budgets: CommaList = Field(
        default_factory=list,
        description="Comma separated texts a day to numbers that begin so: `+49=20000,+1876=100,+7=0`. The longest"
        " prefix that fits counts; 0 sends none. Default: none.",
    )
    sms_global_budget: int = Field(1000, ge=0, description="Texts an hour in all; more are not sent.")
    sms_network_budget: int = Field(
        50, ge=0, description="Texts an hour for one network (IPv4 /24, IPv6 /48); more are not sent."
    )

    @field_validator("admin_phone", "admin_secret", mode="before")
    @classmethod
    def _empty_is_none(cls, given: object) -> object:
        # Compose files hand on a variable that is not set as an empty one.
        plain = given.get_secret_value() if isinstance(given, SecretStr) else given
        return given if plain else None

    @model_validator(mode="after")
    def _refuse_what_everybody_knows(self) -> Self:
        if (self.admin_phone is None) != (self.admin_secret is None):
            raise ValueError("PROJECT_ADMIN_DETAIL and PROJECT_ADMIN_DEFAULT_SECRET belong together.")
        if self.environment == "development":
            return self
        if self.demo_users:
            raise ValueError("Demo users have public passwords: AUTH_DEMO_USERS is for development only.")
        # What OWASP recommends is more rounds for less memory, never below 7 MiB.
        if self.hashing_memory_kib < 7_168 or self.hashing_memory_kib * self.hashing_rounds < 5 * 7_168:
            raise ValueError("AUTH_HASHING_MEMORY_KIB and AUTH_HASHING_ROUNDS make hashes that are guessed too fast.")
        secret = self.admin_secret.get_secret_value() if self.admin_secret else None
        if secret and (len(secret) < _SECRET_CHARS or secret == EXAMPLE_SECRET):
            raise ValueError(f"PROJECT_ADMIN_DEFAULT_SECRET needs {_SECRET_CHARS} characters, of your own choosing.")
        return self
