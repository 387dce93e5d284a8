"""From a claimed row to what a line sends."""

from dataclasses import dataclass, field
from typing import Any

import structlog
from sqlalchemy import Row

from libs.clock import Clock
from libs.crypto import CannotDecrypt, FieldCipher
from notify_service.domain import devices, preferences, push_words, windows
from notify_service.domain.adaptation import adapted
from notify_service.domain.channels import CannotRender, Channel, Message
from notify_service.domain.claims import Key
from notify_service.domain.content import UNSUBSCRIBE_URL, Content
from notify_service.domain.unsubscribe_links import Reader, UnsubscribeLinks

log = structlog.get_logger()


@dataclass(order=True, slots=True)
class Item:
    """A claimed row, ready to leave. Ordered as it shall leave."""

    lane: int
    number: int
    row: Row[Any] = field(compare=False)
    payload: Any = field(compare=False)
    first: bool = field(default=False, compare=False)
    """Whether it counts where people are counted: nobody has opened a window for it."""

    @property
    def key(self) -> Key:
        return self.row.id, self.row.fence


class Renderer:
    """For one account."""

    def __init__(self, channel: Channel, cipher: FieldCipher, links: UnsubscribeLinks, clock: Clock) -> None:
        self._channel = channel
        self._cipher = cipher
        self._links = links
        self._clock = clock

    def render(self, row: Row[Any], content: Content | None, *, closed: bool = False) -> Any:
        """`closed`: no free text may go to this recipient now.

        Raises CannotRender, whatever goes wrong: a row that trips over a mistake of ours must not stop all others,
        again after every restart.
        """
        try:
            secret = self._cipher.decrypt(row.secret, f"message:{row.id}") if row.secret else None
            now = self._clock.now()
            link = self._links.to(_reader(row), now)
            own = row.template is not None
            variables = row.variables if own else _with_link(row.variables, link)
            message = Message(
                id=row.id,
                address=row.address,
                template=row.template,
                variables=variables,
                secret=secret,
                at=now,
                content=self._own(row) if own else self._ready(content, variables, closed=closed),
                unsubscribe=link,
                category=row.category,
            )
            return self._channel.render(message)
        except CannotRender:
            raise
        except CannotDecrypt:
            raise CannotRender("cannot_decrypt") from None
        except Exception:
            log.exception("cannot_render", delivery_id=str(row.id))
            raise CannotRender("fault") from None

    def shown(self, row: Row[Any], content: Content, *, closed: bool = False) -> Content:
        """What of a content goes to this recipient, in words. Raises CannotRender where `render` does."""
        self.render(row, content, closed=closed)
        variables = _with_link(row.variables, self._links.to(_reader(row), self._clock.now()))
        ready = self._ready(content, variables, closed=closed)
        return ready.filled(variables) if self._channel.fills else ready

    def _own(self, row: Row[Any]) -> Content | None:
        """Of a template of ours, for channels that have no words for it themselves."""
        if self._channel.capability.channel not in devices.CHANNELS:
            return None
        return adapted(push_words.content_of(row.template, row.variables), self._channel.capability)

    def _ready(self, content: Content | None, variables: dict[str, Any], *, closed: bool) -> Content:
        if content is None:
            raise CannotRender("no_content")
        if self._channel.capability.window is not None:
            content = windows.fitting(content, is_closed=closed)
        if self._channel.fills:
            return content
        try:
            return adapted(content.filled(variables), self._channel.capability)
        except KeyError:
            raise CannotRender("missing_variable") from None


def _with_link(variables: dict[str, Any], link: str | None) -> dict[str, Any]:
    return variables if link is None else {**variables, UNSUBSCRIBE_URL: link}


def _reader(row: Row[Any]) -> Reader:
    """A user by what their preferences switch; what they do not switch ends for the address."""
    if row.user_id is not None and row.channel in preferences.CHANNELS:
        return Reader(row.channel, row.category, row.user_id, row.address)
    return Reader(row.channel, row.category, row.address)
