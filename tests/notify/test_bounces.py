"""Mails that come back: return paths, and reports as the simulated server and others write them."""

import contextlib
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.sandbox.mailbox import Envelope, read
from deploy.sandbox.smtp_reports import Bounce, Complaint, bounced, complained
from libs.clock import Clock
from notify_service.domain.bounce_reports import parse
from notify_service.domain.bounces import ReturnPath
from notify_service.domain.channels import Effect, ErrorClass
from notify_service.domain.letters import Sender, compose
from notify_service.domain.templates import Mail

PATH = ReturnPath("bounces.example.test", b"k" * 16)
NOW = Clock().now()


def sent(delivery: UUID, *to: str, path: ReturnPath | None = PATH) -> Any:
    """A mail of ours, as the other side has it."""
    sender = path.of(delivery) if path else "parley@example.test"
    mail = Mail("Hi", "Hello.", "<p>Hello.</p>")
    raw = compose(delivery, Sender("", "parley@example.test"), to=("", "ada@example.test"), mail=mail, at=NOW)
    envelope = Envelope(sender=sender, recipients=to or ("ada@example.test",), login="", tls="")
    return read(raw, envelope, id="1", received_at=NOW)


@pytest.mark.promise("N68")
def test_return_path_tells_its_delivery_and_nobody_else_can_make_one() -> None:
    delivery = uuid4()
    address = PATH.of(delivery)
    assert len(address.partition("@")[0]) <= 64
    assert PATH.read(address) == delivery
    assert PATH.read(address.upper()) == delivery
    foreign = PATH.of(uuid4())
    for other in (
        foreign.replace(foreign[2:34], delivery.hex),
        address.replace("@", "0@"),
        address[:-1],
        address.replace(".example", ".other"),
        ReturnPath("bounces.example.test", b"x" * 16).of(delivery),
        "ada@example.test",
        "",
    ):
        assert PATH.read(other) is None
    assert "kkkk" not in repr(PATH)


@pytest.mark.promise("N68")
@pytest.mark.parametrize(
    ("status", "diagnostic", "bounce", "error", "effect", "code"),
    [
        ("5.1.1", "550 no", "hard", ErrorClass.PERMANENT, Effect.SUPPRESS, "5.1.1"),
        ("5.0.0", "550 5.1.10 no", "hard", ErrorClass.PERMANENT, Effect.SUPPRESS, "5.1.10"),
        ("5.2.1", "550 off", "hard", ErrorClass.PERMANENT, Effect.SUPPRESS, "5.2.1"),
        ("5.2.2", "552 full", "soft", ErrorClass.TRANSIENT, None, "5.2.2"),
        ("5.7.1", "550 spam", "policy", ErrorClass.PERMANENT, None, "5.7.1"),
        ("5.1.8", "550 bad sender", "policy", ErrorClass.PERMANENT, None, "5.1.8"),
        ("5.0.0", "550 no", "soft", ErrorClass.TRANSIENT, None, "5.0.0"),
        ("4.4.7", "451 gave up", "soft", ErrorClass.TRANSIENT, None, "4.4.7"),
    ],
)  # fmt: skip
def test_failure_has_the_meaning_of_its_code(
    status: str, diagnostic: str, bounce: str, error: ErrorClass, effect: Effect | None, code: str
) -> None:
    delivery = uuid4()
    report = bounced(sent(delivery), Bounce(status=status, diagnostic=diagnostic), NOW)
    [event] = parse(report.raw, path=PATH)
    assert (event.kind, event.state, event.correlation) == ("receipt", "failed", delivery)
    assert (event.peer, event.code, event.error, event.effect) == ("ada@example.test", code, error, effect)
    assert event.data["bounce"] == bounce
    assert event.at is not None


@pytest.mark.promise("N68")
@pytest.mark.parametrize(
    ("action", "state", "error"),
    [("delayed", "sent", ErrorClass.TRANSIENT), ("delivered", "delivered", None), ("relayed", "delivered", None)],
)
def test_report_of_no_failure_is_none(action: Any, state: str, error: ErrorClass | None) -> None:
    report = bounced(sent(uuid4()), Bounce(action=action, status="4.4.1"), NOW)
    [event] = parse(report.raw, path=PATH)
    assert (event.state, event.error, event.effect) == (state, error, None)


@pytest.mark.promise("N30")
def test_each_recipient_of_a_report_is_told_and_the_same_report_says_the_same() -> None:
    report = bounced(sent(uuid4(), "ada@example.test", "bob@example.test"), Bounce(), NOW)
    events = parse(report.raw, path=PATH)
    assert [event.peer for event in events] == ["ada@example.test", "bob@example.test"]
    assert len({event.dedupe_key for event in events}) == 2
    assert parse(report.raw, path=PATH) == events


@pytest.mark.promise("N68")
@pytest.mark.parametrize("redacted", [True, False])
def test_complaint_ends_marketing(redacted: bool) -> None:
    delivery = uuid4()
    [event] = parse(complained(sent(delivery), Complaint(redacted=redacted), NOW).raw, path=PATH)
    assert (event.correlation, event.code, event.effect) == (delivery, "complaint", Effect.OPT_OUT)
    assert event.peer == (None if redacted else "ada@example.test")


@pytest.mark.parametrize("feedback", ["not-spam", "other", "virus"])
def test_feedback_that_is_no_complaint_says_nothing(feedback: Any) -> None:
    assert not parse(complained(sent(uuid4()), Complaint(feedback=feedback), NOW).raw, path=PATH)


@pytest.mark.promise("N68")
def test_without_return_paths_the_returned_headers_tell_the_delivery() -> None:
    delivery = uuid4()
    for report in (
        bounced(sent(delivery, path=None), Bounce(), NOW),
        complained(sent(delivery, path=None), Complaint(), NOW),
    ):
        [event] = parse(report.raw)
        assert event.correlation == delivery


@pytest.mark.promise("N68")
def test_report_about_no_mail_of_ours_says_nothing() -> None:
    foreign = ReturnPath("bounces.example.test", b"other key, as long")
    report = bounced(sent(uuid4(), path=foreign), Bounce(), NOW)
    raw = report.raw.replace(b"Message-ID: <", b"Message-ID: <x")
    assert parse(report.raw, path=PATH)
    assert not parse(raw, path=PATH)


INFORMAL = b"From: %s\r\nTo: %s\r\nSubject: Undelivered\r\n%s\r\nThis address failed:\r\n  ada@example.test: %s\r\n"


@pytest.mark.parametrize(
    ("sender", "header", "said", "code", "effect"),
    [
        (b"MAILER-DAEMON@mx.test", b"", b"550 5.1.1 unknown user", "5.1.1", Effect.SUPPRESS),
        (b"x@mx.test", b"X-Failed-Recipients: ada@example.test\r\n", b"550 unknown", "5.0.0", None),
        (b"postmaster@mx.test", b"", b"452 4.2.2 full", "4.2.2", None),
        (b"postmaster@mx.test", b"", b"no code at all, at 10.5.1.1 and 1.5.1.1", None, None),
        (b"ada@example.test", b"", b"I am away, room 550 5.1.1", None, None),
    ],
)
def test_bounce_without_a_form_is_read_by_its_code(
    sender: bytes, header: bytes, said: bytes, code: str | None, effect: Effect | None
) -> None:
    delivery = uuid4()
    events = parse(INFORMAL % (sender, PATH.of(delivery).encode(), header, said), path=PATH)
    assert [(each.correlation, each.code, each.effect) for each in events] == (
        [(delivery, code, effect)] if code else []
    )


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 2000))
def test_nothing_that_is_sent_to_us_breaks_the_reader(noise: bytes, at: int) -> None:
    raw = bounced(sent(uuid4()), Bounce(), NOW).raw
    for mangled in (noise, raw[:at] + noise + raw[at:], raw[:at]):
        with contextlib.suppress(ValueError):
            parse(mangled, path=PATH)
