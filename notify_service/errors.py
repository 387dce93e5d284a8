"""Every way notify says no, beyond those of `libs.errors`."""

from collections.abc import Mapping, Sequence

from libs.errors import BadRequest, Conflict, FieldError, Forbidden, Invalid, NotFound, RateLimited, Unavailable


class NotYourself(Forbidden):
    detail = "Only staff may notify somebody else."


class MayNotSend(Forbidden):
    code = "may_not_send"
    detail = "Only administrators, and whom the settings name, may send to anybody."


class NoSuchUser(Invalid):
    def __init__(self) -> None:
        super().__init__(errors=[FieldError("user", "There is no such user.")])


class NotSwitchable(Invalid):
    code = "not_switchable"

    def __init__(self, channel: str, category: str) -> None:
        super().__init__(errors=[FieldError(f"{channel}.categories.{category}", "This category is always sent.")])


class TooManyCategories(Invalid):
    def __init__(self, channel: str, most: int) -> None:
        super().__init__(errors=[FieldError(f"{channel}.categories", f"There can be at most {most}.")])


class NoAccount(Unavailable):
    code = "no_channel"
    detail = "No account is set up for this channel."


class NoPushKey(NotFound):
    code = "no_push_key"
    detail = "No account is set up for browsers."


class AccountExists(Conflict):
    code = "account_exists"
    detail = "There is an account of this name."


class AccountIsFixed(Conflict):
    code = "account_is_fixed"
    detail = "This account is described by the settings; here only its limits can be changed."


class AccountInUse(Conflict):
    code = "account_in_use"
    detail = "Messages wait for this account. Switch it off, or let them go first."


class NotAnEndpoint(Conflict):
    code = "not_an_endpoint"
    detail = "Only an account of the provider `webhook` can be tried out by this."


class AlwaysSent(Invalid):
    code = "always_sent"

    def __init__(self) -> None:
        super().__init__(errors=[FieldError("name", "Messages of this category are always sent, each by itself.")])


class TooLate(Conflict):
    code = "too_late"
    detail = "This has been sent, or has ended otherwise."


class UnusableFile(Invalid):
    code = "unusable_file"
    detail = "This file cannot be used; nothing was changed."


class AudienceFull(Conflict):
    code = "audience_full"
    detail = "So many recipients do not fit into one audience."


class UploadBroken(BadRequest):
    code = "upload_broken"
    detail = "The upload broke off; nothing was changed."


class TooManyUploads(RateLimited):
    code = "too_many_uploads"


class IllegalTransition(Conflict):
    code = "illegal_transition"

    def __init__(self, state: str, aim: str) -> None:
        super().__init__(f"What is {state} cannot become {aim} by this.", extra={"from": state, "to": aim})


class NotADraft(Conflict):
    code = "not_a_draft"
    detail = "Only a draft can be changed or deleted."


class AudienceNotReady(Conflict):
    code = "audience_not_ready"
    detail = "The audience is gone, or nobody is in it yet."


class AudienceInUse(Conflict):
    code = "audience_in_use"
    detail = "A campaign goes to this audience. Cancel it first, or let it end."


class WrongVariables(Invalid):
    """Some recipients have values of other types than the content declares, and nobody is to be left out."""

    code = "wrong_variables"

    def __init__(self, wrong: Mapping[str, int], examples: Mapping[str, Sequence[int]]) -> None:
        """`examples`: lines of some of them."""
        lines = {name: ", ".join(map(str, examples.get(name, ()))) or "many" for name in wrong}
        super().__init__(
            errors=[
                FieldError(f"content.variables.{name}", f"{count} recipients have a wrong value: lines {lines[name]}.")
                for name, count in sorted(wrong.items())
            ]
        )


class MissingVariables(Invalid):
    """Some recipients lack variables that have no default, and the campaign is not to leave anybody out."""

    code = "missing_variables"

    def __init__(self, missing: Mapping[str, int]) -> None:
        super().__init__(
            errors=[
                FieldError(f"defaults.{name}", f"{count} recipients have no value for this, and there is no default.")
                for name, count in sorted(missing.items())
            ]
        )
