"""The rules of WhatsApp for what a business sends, and what breaking them is answered with.

Facts: Meta's pages on throughput and messaging limits (of 2026-05-21), on error codes (of 2026-05-15) and on templates,
looked up in November 2026. Some rules strike after the message was taken: it gets an id and then fails. That a used-up
messaging limit is 131048 is this simulator's choice, for Meta documents no code for it.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from deploy.sandbox import whatsapp_shapes as shapes
from deploy.sandbox.whatsapp_state import (
    DAY_SECONDS,
    PAIR_BURST,
    PAIR_SECONDS,
    Business,
    Number,
    Person,
    Template,
    filled,
    gaps,
)

_TITLES = {
    100: (400, "Invalid parameter"),
    190: (401, "Error validating access token"),
    130429: (429, "Rate limit hit"),
    131008: (400, "Required parameter is missing"),
    131009: (400, "Parameter value is not valid"),
    131021: (400, "Recipient cannot be sender"),
    131026: (400, "Message undeliverable"),
    131047: (400, "Re-engagement message"),
    131048: (400, "Spam rate limit hit"),
    131050: (400, "User has stopped marketing messages"),
    131053: (400, "Media upload error"),
    131056: (400, "(Business Account, Consumer Account) pair rate limit hit"),
    132000: (400, "Number of parameters does not match the expected number of params"),
    132001: (404, "Template name does not exist in the translation"),
    132005: (400, "Translated text too long"),
    132012: (400, "Parameter format does not match format in the created template"),
    132015: (400, "Template is paused"),
    132016: (400, "Template is disabled"),
}
_SECOND = 1.0
_UNSENDABLE = {"PAUSED": 132015, "DISABLED": 132016}


class Refusal(Exception):
    """An answer of the Graph API that is no success."""

    def __init__(self, code: int, details: str, *, status: int | None = None, subcode: int | None = None) -> None:
        super().__init__(details)
        known, title = _TITLES.get(code, (400, "An error on order"))
        self.status = status or known
        self.body: dict[str, Any] = {
            "error": {
                "message": f"(#{code}) {title}",
                "type": "OAuthException",
                "code": code,
                **({"error_subcode": subcode} if subcode else {}),
                "error_data": {"messaging_product": "whatsapp", "details": details},
                "fbtrace_id": secrets.token_hex(8),
            }
        }


def failure(code: int) -> dict[str, Any]:
    """An error of a status that failed."""
    title = _TITLES.get(code, (400, "An error on order"))[1]
    return {"code": code, "title": title, "message": title, "error_data": {"details": title}}


def keep_pace(number: Number, now: float) -> None:
    """The number's messages of the last second, in and out."""
    while number.second and number.second[0] <= now - _SECOND:
        number.second.popleft()
    if len(number.second) >= number.per_second:
        raise Refusal(130429, "Cloud API message throughput has been reached.")
    number.second.append(now)


def keep_apart(number: Number, phone: str, now: float) -> None:
    """One to a person in six seconds; up to 45 at once, which then count against what follows."""
    due = max(number.pairs.get(phone, now), now)
    if due - now > (PAIR_BURST - 1) * PAIR_SECONDS:
        raise Refusal(131056, "Too many messages sent from the sender phone number to the same recipient.")
    number.pairs[phone] = due + PAIR_SECONDS


def is_open(number: Number, phone: str, now: float) -> bool:
    """Whether this person wrote within the last day."""
    return number.windows.get(phone, 0.0) > now


def is_reached(business: Business, phone: str, now: float) -> bool:
    """Whether this person may be written to first: counted once in a moving day, up to the tier."""
    business.reached = {each: at for each, at in business.reached.items() if at > now - DAY_SECONDS}
    if phone not in business.reached and business.tier is not None and len(business.reached) >= business.tier:
        return False
    business.reached.setdefault(phone, now)
    return True


def failing(business: Business, number: Number, person: Person, now: float, *, template: Template | None) -> int | None:
    """What a message that was taken fails with, all the same; None: it arrives."""
    if person.fails_with is not None:
        return person.fails_with
    if not person.on_whatsapp or person.blocks:
        return 131026
    if is_open(number, person.phone, now):
        return None
    if template is None:
        return 131047
    if template.category == "MARKETING" and not person.wants_marketing:
        return 131050
    return None if is_reached(business, person.phone, now) else 131048


def found_template(business: Business, asked: shapes.Template) -> Template:
    template = business.templates.get((asked.name, asked.language.code))
    if template is None:
        raise Refusal(132001, f"template name ({asked.name}) does not exist in {asked.language.code}")
    if template.status != "APPROVED":
        raise Refusal(_UNSENDABLE.get(template.status, 132001), f"template is {template.status}")
    return template


def worded(template: Template, asked: shapes.Template) -> str:
    """What the person reads. Refuses what does not fill the template exactly."""
    given = {each.type: each for each in asked.components if each.type != "button"}
    body = template.part("BODY")["text"]
    values = _texts(given.get("body"))
    if len(values) != gaps(body):
        raise Refusal(132000, f"body: number of localizable_params ({len(values)}) does not match {gaps(body)}")
    _check_header(template.part("HEADER"), given.get("header"))
    _check_buttons(template.part("BUTTONS").get("buttons", []), asked)
    text = filled(body, values)
    if len(text) > 1024:
        raise Refusal(132005, "Translated text is too long")
    return text


def _texts(component: shapes.Component | None) -> list[str]:
    found = []
    for each in component.parameters if component else ():
        if each.type != "text" or not each.text:
            raise Refusal(132012, "body: expected a text")
        if any(mark in each.text for mark in ("\n", "\t", "     ")):
            raise Refusal(132012, "Param text cannot have new-line/tab characters or more than 4 consecutive spaces")
        found.append(each.text)
    return found


def _check_header(header: Mapping[str, Any], given: shapes.Component | None) -> None:
    form = header.get("format", "").lower()
    wanted = gaps(header.get("text", "")) if form == "text" else int(bool(form))
    parameters = given.parameters if given else []
    if len(parameters) != wanted:
        raise Refusal(132000, f"header: number of params ({len(parameters)}) does not match {wanted}")
    if any(each.type != form for each in parameters):
        raise Refusal(132012, f"header: expected {form}")


def _check_buttons(buttons: list[dict[str, Any]], asked: shapes.Template) -> None:
    wanted = {str(index) for index, each in enumerate(buttons) if gaps(each.get("url", "")) or each["type"] == "OTP"}
    given = {each.index for each in asked.components if each.type == "button" and each.parameters}
    if given - wanted:
        raise Refusal(132000, "button: a parameter for a button that takes none")
    if wanted - given:
        raise Refusal(131008, "buttons: Button at index needs a parameter")
