"""The e-mail channel alone, against a real server."""

import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deploy.sandbox.faults import Fault
from deploy.sandbox.server import Options, Sandbox
from deploy.sandbox.smtp import SmtpOptions
from notify_service.domain.channels import CannotOpen, CannotRender, Effect, ErrorClass, Message
from notify_service.domain.channels.email import PROVIDER, Account, Connection, Email, Letter, account
from notify_service.domain.channels.email_errors import lost, outcome_of
from notify_service.domain.channels.email_smtp import Reply
from notify_service.domain.letters import Sender, compose
from notify_service.domain.templates import Mail
from tests.notify.world import SMTP_PASSWORD, SMTP_USER

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SENDER = Sender("Parley", "parley@example.test")
LIMITS = {"connections": 1, "messages_per_connection": 3, "timeout": 5.0}


@pytest.fixture(scope="module")
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    certificate = tmp_path_factory.mktemp("smtp") / "certificate.pem"
    smtp = SmtpOptions(SMTP_USER, SMTP_PASSWORD, max_messages_per_connection=5)
    options = Options(smtp=smtp, http_port=0, smtp_port=0, certificate_file=certificate)
    async with Sandbox(options) as running:
        yield running


@pytest.fixture
def reach(sandbox: Sandbox) -> Callable[..., Account]:
    def make(password: str = SMTP_PASSWORD, *, trusted: bool = True, **limits: Any) -> Account:
        url = f"smtp://{SMTP_USER}:{password.replace(' ', '%20')}@127.0.0.1:{sandbox.smtp_port}?starttls=required"
        path = sandbox._options.certificate_file if trusted else None
        return account(url, mail_from="Parley <parley@example.test>", ca_file=path, **{**LIMITS, **limits})

    return make


def letter(to: str, text: str = "Hello.") -> Letter:
    content = compose(uuid4(), SENDER, to=("Ada", to), mail=Mail("Hi", text, f"<p>{text}</p>"), at=NOW)
    return Letter(SENDER.address, content)


@pytest.mark.promise("N9")
async def test_connection_is_encrypted_signed_in_and_shared(sandbox: Sandbox, reach: Any) -> None:
    line = Connection(reach())
    to = f"{uuid4().hex}@example.test"
    for _ in range(2):
        await line.open()
        assert (await line.send(to, letter(to))).error is None
    assert (await line.send(to, letter(to))).error is None
    await line.close()
    mails = sandbox.postbox.mailbox.newest_first(to)
    assert [m.envelope.login for m in mails] == [SMTP_USER] * 3
    assert all(m.envelope.tls.startswith("TLS") for m in mails)


@pytest.mark.promise("N9")
async def test_connection_is_renewed_after_its_share_of_messages(sandbox: Sandbox, reach: Any) -> None:
    line, wires = Connection(reach()), set()
    to = f"{uuid4().hex}@example.test"
    for _ in range(7):
        await line.open()
        wires.add(line._wire)
        await line.send(to, letter(to))
    await line.close()
    assert len(sandbox.postbox.mailbox.newest_first(to)) == 7
    assert len(wires) == 3


@pytest.mark.promise("N9")
async def test_connection_that_the_server_ended_is_replaced_at_once(sandbox: Sandbox, reach: Any) -> None:
    line = Connection(reach(messages_per_connection=100))
    to = f"{uuid4().hex}@example.test"
    await line.open()
    outcomes = [await line.send(to, letter(to)) for _ in range(12)]
    await line.close()
    assert {o.error for o in outcomes} == {None}
    assert len(sandbox.postbox.mailbox.newest_first(to)) == 12


async def test_refused_recipient_leaves_the_connection_usable(sandbox: Sandbox, reach: Any) -> None:
    line = Connection(reach())
    bad, good = f"{uuid4().hex}@example.test", f"{uuid4().hex}@example.test"
    sandbox.postbox.faults.add(Fault(match=bad, reply="550 5.1.1 unknown"))
    await line.open()
    assert (await line.send(bad, letter(bad))).error is ErrorClass.PERMANENT
    assert (await line.send(good, letter(good))).error is None
    await line.close()
    assert sandbox.postbox.mailbox.newest_first(good)[0].envelope.recipients == (good,)


@pytest.mark.promise("N9")
async def test_certificate_that_nobody_trusts_stops_the_connection(reach: Any) -> None:
    with pytest.raises(CannotOpen) as caught:
        await Connection(reach(trusted=False)).open()
    assert (caught.value.outcome.error, caught.value.outcome.code) == (ErrorClass.UNREACHABLE, "tls_failed")


@pytest.mark.promise("N46")
async def test_wrong_password_blames_the_account(reach: Any) -> None:
    with pytest.raises(CannotOpen) as caught:
        await Connection(reach("wrong")).open()
    assert caught.value.outcome.error is ErrorClass.AUTH


@pytest.mark.promise("N46")
async def test_server_that_is_not_there_blames_the_account(unused_port: int) -> None:
    nowhere = account(f"smtp://127.0.0.1:{unused_port}", mail_from="a@b.test", **LIMITS)
    with pytest.raises(CannotOpen) as caught:
        await Connection(nowhere).open()
    assert caught.value.outcome.error is ErrorClass.UNREACHABLE


@pytest.fixture
def unused_port() -> int:
    from deploy.local import ports

    return ports.free_port()


@pytest.mark.promise("N46")
@pytest.mark.parametrize(
    ("code", "text", "meaning"),
    [
        (450, "4.2.1 busy", ErrorClass.TRANSIENT), (451, "later", ErrorClass.TRANSIENT),
        (550, "5.1.1 unknown", ErrorClass.PERMANENT), (552, "5.2.2 full", ErrorClass.PERMANENT),
        (421, "4.7.0 slow down", ErrorClass.THROTTLE), (432, "4.3.2 too many", ErrorClass.THROTTLE),
        (550, "5.4.5 daily limit", ErrorClass.THROTTLE), (554, "5.2.0 quota", ErrorClass.THROTTLE),
        (550, "5.2.251 throttled", ErrorClass.THROTTLE), (554, "5.2.252 not as them", ErrorClass.AUTH),
        (554, "5.7.1 spam", ErrorClass.PERMANENT), (535, "5.7.8 no", ErrorClass.AUTH),
        (530, "5.7.0 first", ErrorClass.AUTH), (550, "5.7.30 basic", ErrorClass.AUTH),
        (550, "5.7.60 not as them", ErrorClass.AUTH), (554, "5.3.4\nof two lines", ErrorClass.PERMANENT),
    ],
)  # fmt: skip
def test_code_of_the_server_has_its_meaning(code: int, text: str, meaning: ErrorClass) -> None:
    assert outcome_of(Reply(code, text)).error is meaning


@pytest.mark.promise("N46")
def test_table_that_the_api_shows_is_the_one_that_counts() -> None:
    for shown, meaning in PROVIDER.capability.errors.items():
        code, _, enhanced = shown.rpartition(" ") if "." in shown else (shown, "", "")
        assert outcome_of(Reply(int(code or 550), f"{enhanced} words")).error is meaning


@pytest.mark.promise("N46")
@pytest.mark.parametrize("code", ["5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1"])
def test_address_that_is_dead_gets_nothing_more(code: str) -> None:
    assert outcome_of(Reply(550, f"{code} no")).effect is Effect.SUPPRESS


@pytest.mark.parametrize("said", ["5.2.2 full", "5.7.1 spam", "no such user, perhaps", "5.4.5 limit"])
def test_address_that_may_be_alive_is_kept(said: str) -> None:
    assert outcome_of(Reply(550, said)).effect is None


@pytest.mark.promise("N46", "N49")
def test_silence_is_ambiguous_once_the_message_was_written() -> None:
    assert lost(written=True).error is ErrorClass.AMBIGUOUS
    assert lost(written=False).error is ErrorClass.TRANSIENT


@pytest.mark.promise("N46")
@pytest.mark.parametrize("text", ["5.7.1 not yours", "5.1.1 no such sender", "no"])
def test_refusal_of_our_own_address_blames_the_account(text: str) -> None:
    outcome = outcome_of(Reply(553, text), sender=True)
    assert (outcome.error, outcome.effect) == (ErrorClass.AUTH, None)


def test_prose_of_the_server_is_never_kept() -> None:
    assert outcome_of(Reply(550, "5.1.1 <ada@example.test> unknown")).code == "550 5.1.1"


async def test_lines_that_begin_with_dots_arrive_whole(sandbox: Sandbox, reach: Any) -> None:
    to = f"{uuid4().hex}@example.test"
    line = Connection(reach())
    await line.open()
    await line.send(to, letter(to, ".\n..\n.hidden\nend"))
    await line.close()
    assert sandbox.postbox.mailbox.newest_first(to)[0].text.replace("\r\n", "\n") == ".\n..\n.hidden\nend\n"


@pytest.mark.parametrize(
    "url",
    [
        "http://host", "smtp://", "smtp://host?starttls=maybe", "smtp://host?tls=1", "smtp://user:pw@host?starttls=off",
        "smtp://host:notaport", "host:25", "smtp://host?certificate=/does/not/exist",
    ],
)  # fmt: skip
def test_mail_server_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises((ValueError, OSError)):
        account(url, mail_from="a@b.test", **LIMITS)


def test_mail_server_is_read_from_its_url(tmp_path: Path) -> None:
    plain = account("smtp://u%40x:p%2Fw@127.0.0.1:2525?starttls=off", mail_from="a@b.test", **LIMITS)
    implicit = account("smtps://mail.example.test", mail_from="A <a@b.test>", **LIMITS)
    assert (plain.user, plain.password, plain.starttls, plain.context) == ("u@x", "p/w", False, None)
    assert (implicit.port, implicit.tls, implicit.starttls, implicit.user) == (465, True, False, None)
    assert implicit.context is not None
    assert implicit.context.verify_mode is ssl.CERT_REQUIRED
    assert implicit.context.check_hostname
    assert "p/w" not in repr(plain)


@pytest.mark.parametrize("sender", ["", "nobody", "Ä <ä@b.test>"])
def test_sender_without_an_address_is_refused(sender: str) -> None:
    with pytest.raises(ValueError, match="sender"):
        account("smtp://h", mail_from=sender, **LIMITS)


@pytest.mark.parametrize(("template", "variables"), [("nothing", {}), ("message", {"name": "x"})])
def test_message_that_no_template_can_write_is_refused(reach: Any, template: str, variables: Any) -> None:
    with pytest.raises(CannotRender):
        Email(reach()).render(Message(uuid4(), "ada@example.test", template, variables, None, NOW))
