"""What WhatsApp's refusals mean."""

import json
from typing import Any

import pytest

from deploy.sandbox.faults import Fault
from deploy.sandbox.server import Sandbox
from notify_service.domain.channels import Effect, ErrorClass
from notify_service.domain.channels.http import Answer
from notify_service.domain.channels.whatsapp import PROVIDER
from notify_service.domain.channels.whatsapp_errors import ERRORS, judge
from tests.notify.desks import WhatsAppDesk, phone

pytestmark = pytest.mark.promise("N46")

AUTH, THROTTLE, WINDOW = ErrorClass.AUTH, ErrorClass.THROTTLE, ErrorClass.WINDOW
PERMANENT, TRANSIENT, AMBIGUOUS = ErrorClass.PERMANENT, ErrorClass.TRANSIENT, ErrorClass.AMBIGUOUS
MEANINGS = {
    AUTH: (0, 3, 10, 33, 190, 200, 250, 299, 368, 131005, 131031, 131042, 131045),
    THROTTLE: (4, 613, 80007, 130429, 131057),
    ErrorClass.RECIPIENT: (131056,),
    WINDOW: (470, 131047),
    TRANSIENT: (1, 2, 131000, 131016, 133004),
    PERMANENT: (
        100, 130472, 130497, 131008, 131009, 131021, 131026, 131048, 131049, 131050, 131051, 131052, 131053, 131062,
        132000, 132001, 132005, 132007, 132012, 132015, 132016, 132068, 132069,
    ),
}  # fmt: skip
CODES = [(code, meaning) for meaning, codes in MEANINGS.items() for code in codes]


def refused(code: object, status: int = 400, **headers: str) -> Answer:
    error = {"message": "(#1) of +12025550101", "type": "OAuthException", "code": code, "fbtrace_id": "x"}
    return Answer(status, headers, json.dumps({"error": error}).encode())


@pytest.mark.parametrize(("code", "meaning"), CODES)
def test_every_code_has_its_meaning(code: int, meaning: ErrorClass) -> None:
    outcome = judge(refused(code))
    assert (outcome.error, outcome.code) == (meaning, str(code))


def test_no_code_is_forgotten() -> None:
    told = {str(code) for code, _ in CODES if not 200 <= code <= 299}
    assert told | {"200-299"} == set(ERRORS) == set(PROVIDER.capability.errors)


@pytest.mark.parametrize(
    ("code", "effect"),
    [
        (131050, Effect.OPT_OUT), (131048, Effect.STOP_CAMPAIGN), (132001, Effect.STOP_CAMPAIGN),
        (132015, Effect.STOP_CAMPAIGN), (132016, Effect.STOP_CAMPAIGN), (131026, None), (131049, None), (190, None),
    ],
)  # fmt: skip
def test_code_says_more_than_its_message(code: int, effect: Effect | None) -> None:
    assert judge(refused(code)).effect is effect


@pytest.mark.parametrize(
    ("answer", "meaning", "shown"),
    [
        (refused(3, 500), AUTH, "3"), (refused(131016, 503), TRANSIENT, "131016"), (refused(1, 500), AMBIGUOUS, "1"),
        (refused(131000, 500), AMBIGUOUS, "131000"), (refused(131000, 400), TRANSIENT, "131000"),
        (refused(987654, 500), AMBIGUOUS, "987654"), (refused(987654, 400), PERMANENT, "987654"),
        (refused(987654, 403), AUTH, "987654"), (refused(987654, 429), THROTTLE, "987654"),
        (Answer(502, {}, b"<html>Bad gateway"), AMBIGUOUS, "502"), (Answer(429, {}, b""), THROTTLE, "429"),
        (Answer(404, {}, b"{}"), PERMANENT, "404"), (Answer(301, {}, b""), AUTH, "301"),
        (refused("190"), PERMANENT, "400"),
        (refused(True), PERMANENT, "400"), (refused(-1), PERMANENT, "400"), (refused(None, 401), AUTH, "401"),
        (Answer(400, {}, b'{"error": "no"}'), PERMANENT, "400"),
    ],
)  # fmt: skip
def test_status_counts_where_no_code_is_known(answer: Answer, meaning: ErrorClass, shown: str) -> None:
    outcome = judge(answer)
    assert (outcome.error, outcome.code) == (meaning, shown)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"OK", b"[]", b"{}", b"\xff\xfe", b"[" * 100_000, b'{"messages": []}', b'{"messages": [{"id": 7}]}',
        b'{"messages": {"id": "a"}}', b'{"messages": [{"id": ""}]}', b'{"messages": [{"id": "a\\u0000"}]}',
        json.dumps({"messages": [{"id": "x" * 501}]}).encode(), b'{"success": true}', b'{"messages": null}',
    ],
)  # fmt: skip
def test_success_that_names_no_message_may_be_none(content: bytes) -> None:
    outcome = judge(Answer(200, {}, content))
    assert (outcome.error, outcome.code, outcome.provider_id) == (AMBIGUOUS, "bad_answer", None)


USAGE = "x-business-use-case-usage"


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({}, None), ({"retry-after": "7"}, 7.0), ({USAGE: "nonsense"}, None), ({USAGE: '{"1": [{}], "2": 3}'}, None),
        ({USAGE: '{"1": [{"estimated_time_to_regain_access": 3}]}'}, 180.0), ({"retry-after": "99999"}, 3600.0),
        ({USAGE: '{"1": [{"estimated_time_to_regain_access": 999}]}', "retry-after": "5"}, 3600.0),
        ({USAGE: '{"1": [{"estimated_time_to_regain_access": "3"}]}'}, None),
    ],
)  # fmt: skip
def test_account_stays_away_as_long_as_it_is_told_to(headers: dict[str, str], pause: float | None) -> None:
    assert judge(refused(80007, 400, **headers)).pause_seconds == pause


def test_number_that_is_moved_rests_for_a_minute() -> None:
    assert judge(refused(131057)).pause_seconds == 60.0


@pytest.mark.parametrize(
    ("reply", "meaning"),
    [
        ("400 131047", WINDOW), ("404 132001", PERMANENT), ("500 busy", AMBIGUOUS), ("503 2", TRANSIENT),
        ("403 10", AUTH), ("429 slow down", THROTTLE),
    ],
)  # fmt: skip
async def test_refusal_arrives_over_the_wire(sandbox: Sandbox, reply: str, meaning: ErrorClass) -> None:
    desk, ada = WhatsAppDesk(sandbox), phone()
    sandbox.whatsapp.faults.add(Fault(match=ada, reply=reply))
    outcome: Any = await desk.send(ada, template={"name": "hello_world"})
    assert (outcome.error, desk.chats(ada)) == (meaning, [])
