"""What counting a conversation anew found."""

from libs.shapes import Resource


class Verdict(Resource):
    """`problems` from what was looked at to what is wrong there; empty where all is well. `oldest_event`: what came
    before is not in the log any more."""

    ok: bool
    event_seq: int
    message_seq: int
    oldest_event: int
    problems: dict[str, list[str]]
