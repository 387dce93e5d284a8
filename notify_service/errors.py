"""Every way notify says no, beyond those of `libs.errors`."""

from libs.errors import Conflict, FieldError, Forbidden, Invalid


class NotYourself(Forbidden):
    detail = "Only staff may notify somebody else."


class KeyReused(Conflict):
    code = "idempotency_key_reused"
    detail = "This Idempotency-Key came with another request before."


class NotSupported(Invalid):
    code = "not_supported"
    detail = "This is not supported yet."


class NoSuchUser(Invalid):
    def __init__(self) -> None:
        super().__init__(errors=[FieldError("user", "There is no such user.")])


class NotSwitchable(Invalid):
    code = "not_switchable"

    def __init__(self, category: str) -> None:
        super().__init__(errors=[FieldError(f"email.categories.{category}", "This category is always sent.")])


class TooManyCategories(Invalid):
    def __init__(self, most: int) -> None:
        super().__init__(errors=[FieldError("email.categories", f"There can be at most {most}.")])
