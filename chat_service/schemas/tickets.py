"""Tickets for sockets."""

from libs.shapes import Resource


class Ticket(Resource):
    """Opens one socket within `expires_in` seconds."""

    ticket: str
    expires_in: int
