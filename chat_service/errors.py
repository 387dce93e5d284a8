"""Every way chat says no, beyond those of all services."""

from libs.errors import Conflict, FieldError, Forbidden, Invalid, NotFound, PreconditionFailed


class CannotPost(Forbidden):
    code = "cannot_post"
    detail = "This conversation takes no messages from you."


class NotManager(Forbidden):
    code = "permission_denied"
    detail = "Only the owner and admins of the conversation may do this."


class NoConversation(NotFound):
    detail = "No such conversation."


class NoMessage(NotFound):
    detail = "No such message."


class NoMember(NotFound):
    detail = "No such member."


class FixedMembers(Conflict):
    code = "fixed_members"
    detail = "The members of a direct conversation do not change."


class LastOwner(Conflict):
    code = "last_owner"
    detail = "The owner cannot leave while others stay."


class VersionConflict(Conflict):
    code = "version_conflict"
    detail = "The conversation has changed since you read it."


class StaleVersion(PreconditionFailed):
    detail = "The conversation has changed since you read it."


def invalid(field: str, message: str) -> Invalid:
    return Invalid(errors=[FieldError(field, message)])
