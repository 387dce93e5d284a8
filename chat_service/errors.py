"""Every way chat says no, beyond those of all services."""

from libs.errors import (
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    Invalid,
    NotFound,
    PayloadTooLarge,
    PreconditionFailed,
    RateLimited,
    Unavailable,
    UnsupportedMediaType,
)


class CannotPost(Forbidden):
    code = "cannot_post"
    detail = "This conversation takes no messages from you."


class FilesNotAllowed(Forbidden):
    code = "files_not_allowed"
    detail = "This conversation takes no files."


class VoiceNotAllowed(Forbidden):
    code = "voice_not_allowed"
    detail = "This conversation takes no voice messages."


class MayNotMentionAll(Forbidden):
    code = "may_not_mention_all"
    detail = "Only moderators of the conversation may mention everybody."


class TooManyToMention(Forbidden):
    code = "too_many_to_mention"
    detail = "The conversation has too many members to mention all of them."


class SlowMode(RateLimited):
    code = "slow_mode"

    def __init__(self, seconds: float) -> None:
        self.retry_ms = int(seconds * 1000) + 1
        super().__init__(int(seconds) + 1)
        self.extra = {"retry_ms": self.retry_ms}


class NotSupported(Invalid):
    code = "not_supported"
    detail = "This is not supported."

    def __init__(self, *fields: str) -> None:
        super().__init__(errors=[FieldError(field, self.detail) for field in fields])


class NotManager(Forbidden):
    code = "permission_denied"
    detail = "Only the owner and admins of the conversation may do this."


class NotSender(Forbidden):
    code = "permission_denied"
    detail = "Only the sender may edit a message."


class EditWindowExpired(Forbidden):
    code = "edit_window_expired"


class NotDeletable(Forbidden):
    code = "permission_denied"
    detail = "Only the sender and moderators may delete a message."


class DeleteWindowExpired(Forbidden):
    code = "delete_window_expired"


class CannotPin(Forbidden):
    code = "permission_denied"
    detail = "Your role may not pin messages."


class CannotReact(Forbidden):
    code = "permission_denied"
    detail = "Your role may not react to messages."


class MessageDeleted(Conflict):
    code = "message_deleted"
    detail = "This message was deleted."


class MessageChanged(Conflict):
    code = "version_conflict"
    detail = "The message has changed since you read it."


class TooManyReactions(Conflict):
    code = "too_many_reactions"
    detail = "This message has all the different reactions that it can have."


class TooManyPins(Conflict):
    code = "too_many_pins"
    detail = "This conversation has all the pins that it can have."


class NoTarget(NotFound):
    detail = "Target conversation not found or access denied"


class NoConversation(NotFound):
    detail = "No such conversation."


class NoMessage(NotFound):
    detail = "No such message."


class NoAttachment(NotFound):
    detail = "No such file."


class TooLarge(PayloadTooLarge):
    code = "too_large"
    detail = "This file is too large."


class UnsupportedType(UnsupportedMediaType):
    code = "unsupported_type"
    detail = "Files of this type are not accepted."


class UploadBroken(BadRequest):
    code = "upload_broken"
    detail = "The upload broke off."


class TooManyUploads(RateLimited):
    code = "too_many_uploads"


class StoreUnavailable(Unavailable):
    code = "store_unavailable"
    detail = "Files are out of reach at the moment."


class QuotaExceeded(Conflict):
    code = "quota_exceeded"
    detail = "Your files take up as much as they may. Delete some of them."


class NoPerson(NotFound):
    detail = "No such person."


class NoInterest(NotFound):
    detail = "No such request."


class NotReceiver(Forbidden):
    detail = "Only who received the request may answer it, and only who made it may withdraw it."


class InterestExists(Conflict):
    detail = "A request is already pending or accepted."


class InterestAnswered(Conflict):
    detail = "This request is not pending any more."


class InterestRequired(Forbidden):
    code = "interest_required"
    detail = "This person takes messages from contacts alone. Ask to become one."


class NoReport(NotFound):
    detail = "No such report."


class TooManyMembers(Conflict):
    code = "too_many_members"
    detail = "The conversation cannot have so many members."


class ReportResolved(Conflict):
    detail = "This report is resolved."


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


class UnknownStreamConnection(NotFound):
    code = "unknown_stream_connection"
    detail = "This process holds no such event stream of yours."


class StreamBusy(RateLimited):
    code = "stream_busy"
    detail = "Too much is under way on this stream."
