"""Why a socket is closed. Codes 4000 to 4499 invite the client back, from 4500 on they do not."""

from typing import NamedTuple


class Close(NamedTuple):
    code: int
    reason: str

    @property
    def reconnect(self) -> bool:
        return self.code < 4500


GOING_AWAY = Close(4000, "the server restarts")
HELLO_TIMEOUT = Close(4001, "no hello within ten seconds")
INTERNAL = Close(4002, "internal error")
SLOW = Close(4008, "too slow a reader")
SILENT = Close(4012, "nothing heard for too long")
FLOOD = Close(4029, "too many requests")
EXPIRED = Close(4401, "the access token has expired")
MALFORMED = Close(4500, "malformed frame")
VERSION = Close(4501, "this version is not spoken here")
REVOKED = Close(4504, "the session has ended")
TOO_MANY = Close(4506, "too many sockets of this user")
TOO_LARGE = Close(4507, "frame over 64 KiB")

# Of the sockets of existing clients, which know few codes and no invitation to come back.
REFUSED = Close(4001, "no valid access token")
NO_MEMBER = Close(4003, "not a member of the conversation")
TOO_LONG = Close(1009, "frame over 64 KiB")
RESTARTS = Close(1012, "the server restarts")
