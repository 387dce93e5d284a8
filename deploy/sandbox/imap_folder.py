"""What an IMAP mailbox holds: mails by numbers that grow, as long as it is the same mailbox."""

from collections import deque

KEPT = 1_000


class Folder:
    """The newest mails. `rebuild` is what servers do that have lost their index: all numbers get another meaning, and
    mails that could not be read are gone."""

    def __init__(self) -> None:
        self.validity = 1
        self.broken: set[int] = set()
        """Numbers of mails that the server cannot read itself."""
        self._next = 1
        self._mails: deque[tuple[int, bytes]] = deque(maxlen=KEPT)

    def add(self, raw: bytes) -> int:
        """Its number."""
        self._mails.append((self._next, raw))
        self._next += 1
        return self._next - 1

    def numbers(self) -> list[int]:
        return [number for number, _ in self._mails]

    def get(self, number: int) -> bytes | None:
        return next((raw for each, raw in self._mails if each == number), None)

    def rebuild(self) -> None:
        mails = [raw for number, raw in self._mails if number not in self.broken]
        self.validity += 1
        self.broken.clear()
        self._next = 1
        self._mails.clear()
        for raw in mails:
            self.add(raw)
