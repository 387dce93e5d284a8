"""Parley's own inbox as a channel: what is sent over it is a notification, seen by whoever has it open. It has the
delivery's id, so however often it is sent it is there once. `inbox_sender` puts it there."""

from collections.abc import Iterator, Mapping, Sequence
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from notify_service.domain.adaptation import cut
from notify_service.domain.channels import (
    CannotRender,
    Capability,
    Channel,
    ErrorClass,
    Line,
    Media,
    Message,
    Problem,
    Provider,
    Setup,
)
from notify_service.domain.content import Content
from notify_service.domain.drafts import TEMPLATE, Draft

TITLE_MAX, TEXT_MAX, BUTTONS_MAX, BUTTON_TITLE_MAX = 200, 4000, 10, 80
# Clients load it themselves.
_IMAGE_MAX = 10_000_000
NO_USER, UNSURE = "no_such_user", "user_not_known"
ERRORS: Mapping[str, ErrorClass] = {
    NO_USER: ErrorClass.PERMANENT,
    UNSURE: ErrorClass.RECIPIENT,
}
"""What keeps a notification out of its inbox: there is no such user, or nobody can say now whether there is."""

CAPABILITY = Capability(
    channel="inapp",
    provider="inapp",
    # Those that come at the same time share a statement.
    lines=200,
    address="user",
    text_max=TEXT_MAX,
    overflow="truncate",
    subject_max=TITLE_MAX,
    media={"image": Media(_IMAGE_MAX)},
    buttons=BUTTONS_MAX,
    button_title_max=BUTTON_TITLE_MAX,
    receipts=frozenset({"delivered", "read"}),
    idempotency="native",
    errors=ERRORS,
)


class Config(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Secrets(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def check_address(address: str) -> str:
    try:
        return str(UUID(address))
    except ValueError:
        raise ValueError("An inbox is named by the id of its user.") from None


def check_content(content: Content) -> Sequence[Problem]:
    return list(_problems(content))


def _problems(content: Content) -> Iterator[Problem]:
    if content.subject is None:
        yield Problem("content.subject", "A notification has a subject: its title.")
    if content.text is None and content.html is None:
        yield Problem("content.text", "A notification has a text.")
    for index, button in enumerate(content.buttons):
        if button.id is not None:
            yield Problem(f"content.buttons.{index}.id", "An inbox hears no answers; give a url.")


class InApp:
    """The one account: all inboxes."""

    fills = False
    capability = CAPABILITY

    def render(self, message: Message) -> Draft:
        try:
            user_id = UUID(message.address)
        except ValueError:
            raise CannotRender("bad_address") from None
        if message.template == TEMPLATE:
            return Draft(id=message.id, user_id=user_id, **message.variables)
        if message.content is None:
            raise CannotRender("no_content")
        return _draft(message, message.content, user_id)

    def line(self) -> Line:
        raise TypeError("An inbox is not sent to one by one; many come at once.")


def _draft(message: Message, content: Content, user_id: UUID) -> Draft:
    """A touch leads to the content's address, or else to the first button's; further buttons are lines of the text."""
    title, text = (content.subject or "").strip(), (content.text or "").strip()
    if not title or not text:
        raise CannotRender("empty")
    buttons = list(content.buttons)
    action_url = content.url or (buttons.pop(0).url if buttons else None)
    lines = "\n".join(f"{button.title}: {button.url}" for button in buttons)
    return Draft(
        id=message.id,
        user_id=user_id,
        category=message.category,
        title=title,
        message=cut(f"{text}\n\n{lines}" if lines else text, TEXT_MAX),
        action_url=action_url,
        image_url=content.media.url if content.media else None,
        data=dict(content.data),
    )


def _open(setup: Setup) -> Channel:
    raise ValueError(f"Nobody sets up {setup.name}: there is one account, and it is ours.")


PROVIDER = Provider(
    capability=CAPABILITY,
    config=Config,
    secrets=Secrets,
    open=_open,
    check_address=check_address,
    check_content=check_content,
    ours=True,
)
