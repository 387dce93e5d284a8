"""Whose session a socket belongs to, as far as its opening says so.

The service checks the token, wherever it came; this is only so that the gateway can end what the service should have
ended. Of tickets, and of tokens that come in a frame, the gateway knows nothing.
"""

import re

from gateway.domain.head import Head
from gateway.domain.senders import Sender
from libs.errors import Unauthenticated
from libs.tokens import Verifier

_IN_QUERY = re.compile(rb"[?&]token=([A-Za-z0-9_.-]+)(?:&|\Z)")
# Browsers cannot send other headers with a socket: `bearer, <token>` or `t.<ticket>` among the names of protocols.
_AS_PROTOCOL = re.compile(rb"(?:\A|,)[ \t]*(?:bearer[ \t]*,[ \t]*([A-Za-z0-9_.-]+)|t\.)")


def session_of(head: Head, sent: Sender, verifier: Verifier) -> str | None:
    token = _token(head, sent)
    if token is None:
        return None
    try:
        return verifier.verify(token.decode("ascii")).sid
    except (Unauthenticated, UnicodeDecodeError):
        return None


def _token(head: Head, sent: Sender) -> bytes | None:
    """The one that the service looks at first."""
    for name, value in head.headers:
        if name == b"sec-websocket-protocol":
            found = _AS_PROTOCOL.search(value)
            if found is not None:
                return found[1]
    if sent.bearer is not None:
        return sent.bearer
    in_query = _IN_QUERY.search(head.target)
    return sent.cookie if in_query is None else in_query[1]
