"""Every way auth says no, beyond what `libs.errors` has."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from libs.errors import (
    BadGateway,
    BadRequest,
    Conflict,
    FieldError,
    Forbidden,
    Gone,
    Invalid,
    Unauthenticated,
    Unavailable,
)


class InvalidCredentials(Unauthenticated):
    """Unknown account, wrong password and suspended account alike."""

    code = "invalid_credentials"
    detail = "No active account found with the given credentials"


class InvalidRefreshToken(Unauthenticated):
    code = "invalid_token"
    detail = "Token is invalid or expired"


class RefreshReused(Unauthenticated):
    """A refresh token that was replaced came back too late: one of two holders is a thief, so both are signed out."""

    code = "refresh_reused"
    detail = "This refresh token was already used. The session has ended."


class SessionExpired(Unauthenticated):
    code = "session_expired"
    detail = "This session has expired. Sign in again."


class InvalidCode(Unauthenticated):
    code = "invalid_code"
    detail = "This link or code is not valid."


class WrongCode(InvalidCode):
    """Wrong, expired, used, somebody else's and of nobody: one and the same answer."""

    detail = "Invalid or expired code."


class InvalidPasskey(Unauthenticated):
    """Whatever was wrong: who tries with a forged answer learns nothing from the refusal."""

    code = "invalid_passkey"
    detail = "This passkey was not accepted."


class PasskeyCloned(InvalidPasskey):
    """The signature is right and the counter is not: the key is in two places. Answered like any other refusal."""

    def __init__(self, user_id: UUID) -> None:
        self.user_id = user_id
        super().__init__()


class EmailNotVerified(Forbidden):
    """Said only to somebody who knows the password."""

    code = "email_not_verified"
    detail = "Confirm your e-mail address first: open the link that was sent to you."


class CountryBlocked(Forbidden):
    """Said only after the right credentials, so that it betrays nothing about the account."""

    code = "country_blocked"

    def __init__(self, country: str) -> None:
        super().__init__(f"Access not allowed from {country}")


class MfaRequired(Forbidden):
    """The first factor was right. `mfa_token` and one of `methods` end the sign-in within five minutes."""

    code = "mfa_required"
    detail = "A second factor is required."

    def __init__(self, mfa_token: str, methods: Sequence[str]) -> None:
        super().__init__(extra={"mfa_token": mfa_token, "methods": list(methods), "expires_in": 300})


class ChallengeRequired(Forbidden):
    """After failures, before the password is looked at: solve this, and send the solution with the same request."""

    code = "challenge_required"
    detail = "Solve the challenge first."

    def __init__(self, challenge: Mapping[str, object]) -> None:
        super().__init__(extra={"challenge": dict(challenge)})


class ReauthRequired(Forbidden):
    """For changes that a stolen session must not make: prove again who you are, with one of `methods`."""

    code = "reauth_required"
    detail = "Confirm who you are first."

    def __init__(self, methods: Sequence[str]) -> None:
        super().__init__(extra={"methods": list(methods)})


class Impersonated(Forbidden):
    """Staff who act as somebody see what that person sees; proofs and credentials stay the person's own."""

    code = "impersonated"
    detail = "This cannot be done on behalf of somebody else."


class AuditBroken(Conflict):
    """Said on the command line."""

    code = "audit_broken"


class LastAdministrator(Conflict):
    code = "last_administrator"
    detail = "This is the last administrator. Make another one first."


class NotSharing(Forbidden):
    code = "location_not_shared"
    detail = "Share your own location first."


class ExportNotReady(Conflict):
    code = "export_not_ready"
    detail = "This export is not ready yet."


class Taken(Conflict):
    def __init__(self, field: str) -> None:
        self.field = field
        message = f"user with this {field.replace('_', ' ')} already exists."
        super().__init__(message, errors=[FieldError(field, message)])


class UsernameTaken(Taken):
    code = "username_taken"


class EmailTaken(Taken):
    code = "email_taken"


class PhoneTaken(Taken):
    code = "phone_number_taken"


class AlreadyVerified(Conflict):
    code = "already_verified"
    detail = "This e-mail address is already confirmed."


class NoEmail(Conflict):
    code = "no_email"
    detail = "This account has no e-mail address."


class NotOneToken(BadRequest):
    code = "invalid_request"
    detail = "Send one token, as the field `token` of a form."

    def __init__(self) -> None:
        # As programs read it that know the standard (RFC 6749, section 5.2).
        super().__init__(extra={"error": self.code})


class TooManyApiTokens(Conflict):
    code = "too_many_api_tokens"
    detail = "An account has at most 50 API tokens. Revoke one first."


class LinkSpent(Gone):
    code = "link_spent"
    detail = "This link was already used or has expired."


class UrlNotAllowed(Invalid):
    """An address that this server must not visit for somebody else."""

    code = "url_not_allowed"
    detail = "This address is not allowed."


class ProviderFailed(BadGateway):
    """A sign-in provider was silent, slow or talked nonsense. What it said stays in our log."""

    code = "provider_failed"
    detail = "The sign-in provider gave no proper answer. Try again."


class ProviderRefused(BadRequest):
    """The provider does not know the code, or what it said does not belong to this visit."""

    code = "provider_refused"
    detail = "Signing in with this provider did not succeed. Begin again."


class FacebookRefused(BadRequest):
    """Of Sender's sign-in, whose client shows these four texts."""

    code = "facebook_refused"
    detail = "Failed to authenticate with Facebook"


class FacebookIncomplete(FacebookRefused):
    code = "invalid"
    detail = "Authorization code and redirect URI are required"


class FacebookExchangeFailed(FacebookRefused):
    detail = "Failed to exchange code for token"


class FacebookProfileFailed(FacebookRefused):
    detail = "Failed to get user information"


class UnknownVisit(BadRequest):
    """Never begun, begun in another browser, ended already, or more than ten minutes ago: not to be told apart."""

    code = "invalid_state"
    detail = "This sign-in was not begun in this browser, or is over. Begin again."


class IdentityTaken(Conflict):
    code = "identity_taken"
    detail = "This account of the provider belongs to another user."


class LastMethod(Conflict):
    code = "last_method"
    detail = "This is the only way left to sign in. Set a password or add another one first."


class AlreadyEnrolled(Conflict):
    code = "already_enrolled"
    detail = "An authenticator app is set up already. Remove it first."


class TooManyPasskeys(Conflict):
    code = "too_many_passkeys"
    detail = "An account has ten passkeys at most. Remove one first."


class NoSecondFactor(Conflict):
    code = "no_second_factor"
    detail = "Recovery codes stand in for a second factor. Set one up first."


class NotAllowed(Invalid):
    """One field that is well-formed and still not acceptable."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(errors=[FieldError(field, message)])


class PasswordTooShort(NotAllowed):
    def __init__(self, least: int) -> None:
        self.least = least
        message = f"This password is too short. It must contain at least {least} characters."
        super().__init__("password", message)


class Busy(Unavailable):
    code = "busy"
    detail = "Too many sign-ins at once. Try again in a second."
