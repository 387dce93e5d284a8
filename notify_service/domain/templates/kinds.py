"""Which messages there are, and what each must be told. What is missing, unknown or of another type is refused before
anything is worded."""

import re
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from notify_service.domain.channels import CannotRender

# Besides what breaks lines: marks that turn the direction of writing, with which one text poses as another.
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
_CONTROLS_BUT_BREAKS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]+")
# Mail programs make links of these. A stranger can register an address that is not theirs under any name, and we
# would carry their advertisement to its owner.
_LINK = re.compile(r"[/@:]|\w\.\w{2,}|www\.", re.IGNORECASE)
_MAX_LINE = 200
_MAX_NAME = 60


def _one_line(text: str) -> str:
    return " ".join(_CONTROLS.sub(" ", text).split())[:_MAX_LINE]


def _lines(text: str) -> str:
    return _CONTROLS_BUT_BREAKS.sub(" ", text.replace("\r\n", "\n"))


def safe_name(name: str) -> str:
    """The name that a mail greets somebody by; empty for what is rather an advertisement."""
    line = _one_line(name)
    return "" if len(line) > _MAX_NAME or _LINK.search(line) else line


def _moment(given: str | datetime) -> str:
    """To the minute, in a form that is read alike in all languages. Words are left as they are."""
    if isinstance(given, datetime):
        return given.strftime("%Y-%m-%d %H:%M") + (" UTC" if not given.utcoffset() else given.strftime(" %z"))
    try:
        parsed = datetime.fromisoformat(given)
    except ValueError:
        return _one_line(given)
    return parsed.date().isoformat() if len(given) <= 10 else _moment(parsed)


Line = Annotated[str, AfterValidator(_one_line)]
Lines = Annotated[str, StringConstraints(max_length=10_000), AfterValidator(_lines)]
Moment = Annotated[datetime | str, Field(union_mode="left_to_right"), AfterValidator(_moment)]
Secret = Annotated[str, StringConstraints(max_length=500, pattern=r"^[!-~]+$")]


class Told(BaseModel):
    """What every message is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, AfterValidator(safe_name)] = ""


class WithSecret(Told):
    """A message that brings a code or the token of a link."""

    secret: Secret


class PasswordChanged(Told):
    """`api_tokens` of programs go on working."""

    api_tokens: int = 0


class Undo(WithSecret):
    new_email: Line


class Device(Told):
    device: Line


class NewDevice(Device):
    place: Line = ""
    time: Moment


class Changed(Told):
    """`what` is one of the `names` of the words, as `totp_added`, or a text of its own."""

    what: Line


class Remaining(Told):
    remaining: int


class Due(Told):
    date: Moment


class Linked(Told):
    provider: Line


class Labelled(Told):
    """`label` is what somebody named a thing, perhaps not the owner: it greets, rather than advertises."""

    label: Annotated[str, AfterValidator(safe_name)]


class Written(Told):
    """`conversation` is the name of a group; None between two people."""

    sender: Line
    conversation: Line | None
    excerpt: Lines


class Digest(Told):
    """`count` messages, of which `more` are not among those listed."""

    count: int
    more: int
    listing: Lines


MAILS: dict[str, type[Told]] = {
    "verify_email": WithSecret,
    "account_exists": Told,
    "account_reclaimed": Told,
    "reset_password": WithSecret,
    "choose_password": WithSecret,
    "reauth_code": WithSecret,
    "sign_in_code": WithSecret,
    "password_changed": PasswordChanged,
    "password_attacked": Told,
    "email_change_confirm": WithSecret,
    "email_change_undo": Undo,
    "email_changed": Told,
    "phone_changed": Told,
    "phone_change_undo": WithSecret,
    "new_device": NewDevice,
    "countries_changed": Told,
    "session_limit": Device,
    "refresh_reused": Told,
    "mfa_changed": Changed,
    "passkey_cloned": Told,
    "recovery_code_used": Remaining,
    "factor_locked": Told,
    "identity_linked": Linked,
    "identity_unlinked": Linked,
    "api_token_created": Labelled,
    "account_deletion": Due,
    "account_deleted": Told,
    "message": Written,
    "mention": Written,
    "digest": Digest,
}
TEXTS: dict[str, type[Told]] = {"phone_code": WithSecret, "phone_change": WithSecret, "phone_undo": WithSecret}
# Those that can be switched off say so at their end; of the others, those that bring nothing one has asked for say why.
SWITCHABLE = frozenset({"digest", "mention", "message"})
ASKED_FOR = frozenset({"verify_email", "reset_password", "reauth_code", "email_change_confirm", "account_exists"})
# The page of the client that takes the secret of a message, below the address that `NOTIFY_LINK_BASE` names.
PAGES = {
    "verify_email": "verify-email",
    "reset_password": "reset-password",
    "choose_password": "reset-password",
    "email_change_confirm": "confirm-email",
    "email_change_undo": "undo-email",
    "phone_change_undo": "undo-phone",
    "phone_undo": "undo-phone",
}


def checked(kind: str, variables: dict[str, Any], secret: str | None) -> dict[str, Any]:
    """The variables, cleaned. Raises CannotRender."""
    model = MAILS.get(kind) or TEXTS.get(kind)
    if model is None:
        raise CannotRender("unknown_template")
    given = variables if secret is None else {**variables, "secret": secret}
    try:
        return model.model_validate(given).model_dump()
    except ValidationError:
        # Nothing of it is passed on: the error quotes the values, the secret among them.
        raise CannotRender("wrong_variables") from None
