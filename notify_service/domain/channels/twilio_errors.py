"""Twilio's codes, of refusals and of receipts, and what each means (twilio.com/docs/api/errors, November 2026)."""

from collections.abc import Mapping

from notify_service.domain.channels import Effect, ErrorClass

ERRORS: Mapping[str, ErrorClass] = {
    **dict.fromkeys(
        (
            "10001",  # the account is not active
            "20003",  # wrong credentials
            "20005",  # the account is not active
            "20404",  # no such account
            "21212",  # the sender is no number
            "21603",  # no sender
            "21606",  # the sender is not ours, or sends no texts
            "21607",  # a trial account's sender that is not verified
            "21609",  # the address of receipts is none
            "21660",  # the sender is another account's
            "21701",  # no such messaging service
            "21703",  # the messaging service has no senders
            "21705",  # the messaging service's id is none
            "30002",  # the account is suspended
            "30034",  # the sender is not registered with the carriers
        ),
        ErrorClass.AUTH,
    ),
    **dict.fromkeys(
        (
            "14107",  # more a second than the account may send
            "20429",  # too many requests at a time
            "21611",  # ten hours' worth of messages wait for this sender
            "30022",  # more a minute than the campaign's carriers take
            "30023",  # as many as the carriers take of the sender in a day
            "63038",  # as many as the account may send in a day
        ),
        ErrorClass.THROTTLE,
    ),
    **dict.fromkeys(
        (
            "20503",  # the service is down, and says so
            "21730",  # maintenance
            "30001",  # the queue is full
            "30003",  # the phone is off, or out of reach
            "30008",  # no reason known
            "30017",  # the carrier's network is congested
            "30410",  # the carrier did not answer
        ),
        ErrorClass.TRANSIENT,
    ),
    **dict.fromkeys(
        (
            "21211",  # no number
            "21408",  # the account may not send to that country
            "21602",  # no text
            "21604",  # no recipient
            "21608",  # a trial account's recipient that is not verified
            "21610",  # its owner has said STOP
            "21612",  # this sender does not reach that number
            "21614",  # no mobile phone
            "21617",  # more than 1,600 characters
            "21635",  # a landline
            "30004",  # blocked by its owner or carrier
            "30005",  # nobody's number
            "30006",  # a landline, or an unreachable carrier
            "30007",  # filtered by the carrier
            "30010",  # dearer than the highest price set
            "30036",  # not delivered within its validity
        ),
        ErrorClass.PERMANENT,
    ),
    "20500": ErrorClass.AMBIGUOUS,  # failed inside
}
EFFECTS: Mapping[str, Effect] = {
    **dict.fromkeys(("21211", "21614", "21635", "30005", "30006"), Effect.SUPPRESS),
    "21610": Effect.OPT_OUT,
}
