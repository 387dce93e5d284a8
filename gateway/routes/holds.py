"""Why a client is not read from: bits, since operations on an enum's flags cost a microsecond each."""

HOLD_UPSTREAM = 1  # the service takes the body more slowly than the client sends it
HOLD_PIPELINE = 2  # an earlier request is not answered yet
HOLD_UPGRADE = 4  # what follows belongs to the socket, once there is one
