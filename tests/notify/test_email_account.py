"""Mail accounts as they are set up over the API, and signing in with tokens, against the simulated provider."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from pydantic import BaseModel, SecretStr, ValidationError

from deploy.sandbox.server import Sandbox
from deploy.sandbox.smtp_rules import PRESETS as RULES
from deploy.sandbox.smtp_tokens import CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN, Habits
from libs.clock import Clock
from notify_service.domain.adaptation import problems
from notify_service.domain.channels import CannotOpen, Channel, ErrorClass, Message, Setup
from notify_service.domain.channels.email import PROVIDER
from notify_service.domain.channels.email_account import Config, Secrets
from notify_service.domain.content import Content
from tests.notify.world import SMTP_PASSWORD, SMTP_USER

CONTENT = Content(subject="Hello {{name}}", text="Dear {{name}}")
Open = Callable[..., Channel]


@pytest.fixture
async def provider(sandbox: Sandbox) -> AsyncIterator[Sandbox]:
    """With nobody's limits, and tokens that nobody has asked for yet."""
    sandbox.postbox.tokens.reset()
    sandbox.postbox.allowance.forget()
    yield sandbox
    sandbox.postbox.allowance.rules = RULES["none"]
    sandbox.postbox.allowance.forget()


@pytest.fixture
def opened(provider: Sandbox) -> Open:
    def make(*, secrets: dict[str, Any] | None = None, keep: Any = None, **config: Any) -> Channel:
        given = {
            "host": "127.0.0.1",
            "port": provider.smtp_port,
            "user": SMTP_USER,
            "sender": "Parley <parley@example.test>",
            "certificates": provider.certificate.pem,
            "timeout": 10,
            **config,
        }
        known = Secrets.model_validate({"password": SMTP_PASSWORD} if secrets is None else secrets)
        more = {"keep": keep} if keep else {}
        return PROVIDER.open(Setup("mail", Config.model_validate(given), known, **more))

    return make


@pytest.fixture
def with_tokens(provider: Sandbox, opened: Open) -> Open:
    def make(*, secrets: dict[str, Any] | None = None, **config: Any) -> Channel:
        url = f"http://127.0.0.1:{provider.http_port}/smtp/oauth/token"
        usual = {"client_secret": CLIENT_SECRET, "refresh_token": REFRESH_TOKEN}
        oauth = {"token_url": url, "client_id": CLIENT_ID}
        return opened(oauth=oauth, secrets=usual if secrets is None else secrets, **config)

    return make


def message(to: str, **changed: Any) -> Message:
    given: dict[str, Any] = {"content": CONTENT, "variables": {"name": "Ada"}, "template": None, "secret": None}
    return Message(id=uuid4(), address=to, at=Clock().now(), **{**given, **changed})


async def sent(channel: Channel, count: int = 1, to: str | None = None) -> list[Any]:
    to = to or f"{uuid4().hex}@example.test"
    line = channel.line()
    await line.open()
    try:
        return [await line.send(to, channel.render(message(to))) for _ in range(count)]
    finally:
        await line.close()


async def refused(channel: Channel) -> Any:
    with pytest.raises(CannotOpen) as caught:
        await channel.line().open()
    return caught.value.outcome


@pytest.mark.promise("N9")
async def test_account_of_the_api_sends_a_content(provider: Sandbox, opened: Open) -> None:
    to = f"{uuid4().hex}@example.test"
    [outcome] = await sent(opened(reply_to="help@example.test", unsubscribe="stop@example.test"), to=to)
    [mail] = provider.postbox.mailbox.newest_first(to)
    assert outcome.error is None
    assert (mail.subject, mail.text, mail.envelope.login) == ("Hello Ada", "Dear Ada\r\n", SMTP_USER)
    assert ("Reply-To", "help@example.test") in mail.headers


@pytest.mark.promise("N68")
async def test_mail_comes_back_to_an_address_of_its_own(provider: Sandbox, opened: Open) -> None:
    to = f"{uuid4().hex}@example.test"
    secrets = {"password": SMTP_PASSWORD, "return_path_key": "k" * 16}
    await sent(opened(return_path="bounces.example.test", secrets=secrets), 2, to=to)
    back = {mail.envelope.sender for mail in provider.postbox.mailbox.newest_first(to)}
    assert len(back) == 2
    assert all(each.startswith("b+") and each.endswith("@bounces.example.test") for each in back)


@pytest.mark.promise("N10")
async def test_many_connections_need_one_token(provider: Sandbox, with_tokens: Open) -> None:
    channel = with_tokens(connections=8)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(sent(channel)) for _ in range(8)]
    assert all(outcome.error is None for task in tasks for outcome in task.result())
    assert provider.postbox.tokens.asked == 1


@pytest.mark.promise("N10")
async def test_token_that_ended_early_is_replaced_once(provider: Sandbox, with_tokens: Open) -> None:
    channel = with_tokens()
    await sent(channel)
    provider.postbox.tokens.end_all()
    [outcome] = await sent(channel)
    assert outcome.error is None
    assert provider.postbox.tokens.asked == 2


@pytest.mark.promise("N10")
async def test_server_that_takes_no_token_is_asked_twice_and_not_more(provider: Sandbox, with_tokens: Open) -> None:
    outcome = await refused(with_tokens(user="somebody-else"))
    assert (outcome.error, outcome.code) == (ErrorClass.AUTH, "535 5.7.8")
    assert provider.postbox.tokens.asked == 2


@pytest.mark.promise("N10")
async def test_token_is_fetched_anew_when_its_time_is_over(provider: Sandbox, with_tokens: Open) -> None:
    provider.postbox.tokens.habits = Habits(lifetime=0)
    channel = with_tokens()
    assert (await refused(channel)).error is ErrorClass.AUTH
    provider.postbox.tokens.habits = Habits()
    assert (await sent(channel))[0].error is None


@pytest.mark.promise("N10")
async def test_exchanged_refresh_token_is_kept_and_used(provider: Sandbox, with_tokens: Open, opened: Open) -> None:
    kept: list[Secrets] = []

    async def keep(secrets: BaseModel) -> None:
        assert isinstance(secrets, Secrets)
        kept.append(secrets)

    provider.postbox.tokens.habits = Habits(rotate=True)
    channel = with_tokens(keep=keep)
    await sent(channel)
    provider.postbox.tokens.end_all()
    await sent(channel)
    assert len(kept) == 2
    assert kept[-1].refresh_token == SecretStr(provider.postbox.tokens.refresh_token)
    assert kept[-1].client_secret == SecretStr(CLIENT_SECRET)


@pytest.mark.promise("N10")
@pytest.mark.parametrize(
    ("habits", "secrets", "error", "code"),
    [
        ({"withdrawn": True}, None, ErrorClass.AUTH, "invalid_grant"),
        ({}, {"client_secret": "wrong", "refresh_token": REFRESH_TOKEN}, ErrorClass.AUTH, "invalid_client"),
        ({}, {"client_secret": CLIENT_SECRET, "refresh_token": "old"}, ErrorClass.AUTH, "invalid_grant"),
        ({"down": True}, None, ErrorClass.UNREACHABLE, "no_token 503"),
    ],
)
async def test_who_gives_no_token_says_why(
    provider: Sandbox, with_tokens: Open, habits: Any, secrets: Any, error: ErrorClass, code: str
) -> None:
    provider.postbox.tokens.habits = Habits(**habits)
    outcome = await refused(with_tokens(secrets=secrets))
    assert (outcome.error, outcome.code) == (error, code)


@pytest.mark.promise("N10")
async def test_application_signs_in_with_its_own_credentials(provider: Sandbox, with_tokens: Open) -> None:
    [outcome] = await sent(with_tokens(secrets={"client_secret": CLIENT_SECRET}))
    assert outcome.error is None


async def test_token_endpoint_that_is_not_there_blames_the_account(opened: Open) -> None:
    oauth = {"token_url": "http://127.0.0.1:9/token", "client_id": "x"}
    outcome = await refused(opened(oauth=oauth, secrets={"refresh_token": "x"}))
    assert (outcome.error, outcome.code) == (ErrorClass.UNREACHABLE, "no_token")


@pytest.mark.promise("N46")
async def test_limits_of_gmail_pause_the_account(provider: Sandbox, opened: Open) -> None:
    provider.postbox.allowance.rules = RULES["gmail"].model_copy(update={"per_day": 2})
    outcomes = await sent(opened(preset="gmail"), 3)
    assert [each.code for each in outcomes] == [None, None, "550 5.4.5"]
    assert outcomes[-1].error is ErrorClass.THROTTLE
    assert outcomes[-1].pause_seconds
    provider.postbox.allowance.clock.advance(86_401)
    assert (await sent(opened(preset="gmail")))[0].error is None


@pytest.mark.promise("N46")
async def test_limits_of_exchange_online_pause_the_account(provider: Sandbox, opened: Open) -> None:
    provider.postbox.allowance.rules = RULES["office365"].model_copy(update={"connections": 1, "per_day": 1})
    channel = opened(preset="office365")
    outcomes = await sent(channel, 2)
    assert [each.code for each in outcomes] == [None, "554 5.2.0"]
    assert outcomes[-1].error is ErrorClass.THROTTLE
    first, second = channel.line(), channel.line()
    await first.open()
    await second.open()
    outcome = await second.send("ada@example.test", channel.render(message("ada@example.test")))
    assert (outcome.error, outcome.code) == (ErrorClass.THROTTLE, "432 4.3.2")
    await first.close()
    await second.close()


@pytest.mark.promise("N46")
async def test_end_of_passwords_asks_for_somebody_to_look(provider: Sandbox, opened: Open) -> None:
    provider.postbox.allowance.rules = RULES["none"].model_copy(update={"passwords": False})
    outcome = await refused(opened())
    assert (outcome.error, outcome.code) == (ErrorClass.AUTH, "550 5.7.30")


def test_preset_gives_what_is_not_given() -> None:
    oauth = {"client_id": "x"}
    config = Config.model_validate({"preset": "office365", "user": "u", "sender": "a@b.test", "oauth": oauth})
    assert (config.host, config.port, config.security, config.connections) == ("smtp.office365.com", 587, "starttls", 3)
    assert config.oauth is not None
    assert config.oauth.token_url.startswith("https://login.microsoftonline.com/")
    channel = PROVIDER.open(Setup("m", config, Secrets(refresh_token=SecretStr("r"))))
    assert [(rate.limit, rate.seconds) for rate in channel.capability.rates] == [(30, 60)]
    assert channel.capability.quota is not None
    assert channel.capability.quota.limit == 10_000
    gmail = Config.model_validate({"preset": "gmail", "sender": "a@b.test", "connections": 1})
    assert (gmail.host, gmail.connections, gmail.oauth) == ("smtp.gmail.com", 1, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {}, {"host": "a b"}, {"host": "h\r\n"}, {"port": 0}, {"security": "maybe"}, {"sender": "nobody"}, {"more": 1},
        {"security": "none", "user": "u"}, {"reply_to": "x"}, {"return_path": "a@b"}, {"connections": 0},
        {"oauth": {"token_url": "https://x.test/t", "client_id": "c"}}, {"preset": "yahoo"},
        {"dkim": {"domain": "x.test", "selector": "a;b"}},
    ],
)  # fmt: skip
def test_account_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    given = {"host": "mail.example.test", "sender": "a@b.test", **wrong} if wrong else {}
    with pytest.raises(ValidationError):
        Config.model_validate(given)


@pytest.mark.parametrize(
    ("config", "secrets"),
    [
        ({"user": "u"}, {}),
        ({"user": "u", "oauth": {"token_url": "https://x.test/t", "client_id": "c"}}, {"password": "p"}),
        ({"dkim": {"domain": "b.test", "selector": "s"}}, {}),
        ({"dkim": {"domain": "b.test", "selector": "s"}}, {"dkim_key": "no key"}),
        ({"return_path": "b.test"}, {}),
        ({"return_path": "b.test"}, {"return_path_key": "short"}),
        ({"certificates": "no certificate"}, {}),
    ],
)
def test_secrets_that_do_not_belong_to_the_account_are_refused(config: Any, secrets: Any) -> None:
    given = Config.model_validate({"host": "mail.example.test", "sender": "a@b.test", **config})
    with pytest.raises((ValueError, OSError)):
        PROVIDER.open(Setup("m", given, Secrets.model_validate(secrets)))


def test_secrets_are_never_shown() -> None:
    key = generate_private_key(65_537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    hidden = {"client_secret": "hush-1", "refresh_token": "hush-2", "return_path_key": "hush-3-and-more-of-it"}
    secrets = Secrets.model_validate({"password": "hush-4", "dkim_key": key, **hidden})
    config = Config.model_validate(
        {
            "preset": "gmail",
            "user": "u",
            "sender": "a@b.test",
            "return_path": "b.test",
            "dkim": {"domain": "b.test", "selector": "s"},
            "oauth": {"client_id": "c"},
        }
    )
    setup = Setup("m", config, secrets)
    channel: Any = PROVIDER.open(setup)
    shown = f"{setup!r} {secrets!r} {channel._account!r} {channel._account.tokens!r} {channel._account.tokens._grant!r}"
    assert "hush" not in shown
    assert "PRIVATE" not in shown


@pytest.mark.parametrize("address", ["", "nobody", "a b@c.test", "ä@c.test", "a@c.test\r\nX: y"])
def test_address_that_is_none_is_refused_with_a_sentence(address: str) -> None:
    with pytest.raises(ValueError, match="name@domain"):
        PROVIDER.check_address(address)


def test_address_has_one_form() -> None:
    assert PROVIDER.check_address(" Ada@BÜCHER.example ") == "Ada@xn--bcher-kva.example"


def test_mail_has_a_subject_and_no_files_yet() -> None:
    assert PROVIDER.check_content is not None
    assert [each.field for each in PROVIDER.check_content(Content(text="x"))] == ["content.subject"]
    media = Content.model_validate({"subject": "s", "media": {"kind": "image", "url": "https://x.test/a.png"}})
    assert [each.field for each in problems(media, PROVIDER.capability)] == ["content.media.kind"]
