"""What somebody wants to say, in words that every channel understands; each takes of it what it can.

Texts may have placeholders, `{{name}}`, for what differs from recipient to recipient. Values are never templates: they
are put in last, into HTML with what HTML needs escaped.
"""

import html
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from libs.shapes import Text
from notify_service.domain.variables import Declared, Link

NAME = "[a-z][a-z0-9_]{0,39}"
"""Of a variable."""
_PLACEHOLDER = re.compile(r"\{\{\s*(" + NAME + r")\s*\}\}")
_MAX_TEXT = 65_536
_SCHEMES = ("https://", "http://")
NO_ADDRESS = "An address begins with https:// or http://, or is a variable that is declared as url."
UNSUBSCRIBE_URL = "unsubscribe_url"
"""A placeholder that we fill ourselves: with the address of its reader's own page."""


def _well_formed(text: str) -> str:
    if "{{" in _PLACEHOLDER.sub("", text):
        raise ValueError("A placeholder is {{name}}, of small letters, digits and underscores.")
    return text


def _link(url: str) -> str:
    # Which placeholders stand for an address, the content says.
    if not url.startswith(_SCHEMES) and _PLACEHOLDER.fullmatch(url) is None:
        raise ValueError(NO_ADDRESS)
    return url


Line = Annotated[
    Text, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\r\n]+$"), AfterValidator(_well_formed)
]
Words = Annotated[Text, StringConstraints(min_length=1, max_length=_MAX_TEXT), AfterValidator(_well_formed)]
Url = Annotated[Text, StringConstraints(max_length=2000), AfterValidator(_link), AfterValidator(_well_formed)]
Id = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")]


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Media(Part):
    """A file at an address that the provider, or we for it, can fetch."""

    kind: Literal["image", "audio", "video", "document", "sticker"]
    url: Url
    caption: Annotated[Words, Field(max_length=4096)] | None = None
    filename: Line | None = None


class Button(Part):
    """Opens an address, or answers with an id."""

    title: Annotated[Line, Field(max_length=80)]
    url: Url | None = None
    id: Id | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.url is None) == (self.id is None):
            raise ValueError("A button has either a url or an id.")
        return self


class Choice(Part):
    id: Id
    title: Annotated[Line, Field(max_length=80)]
    description: Annotated[Line, Field(max_length=200)] | None = None


class Choices(Part):
    """A list to choose from, behind a button."""

    title: Annotated[Line, Field(max_length=80)]
    choices: Annotated[list[Choice], Field(min_length=1, max_length=10)]


class Approved(Part):
    """A template that the provider has approved, by its name there, with what fills it."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,512}$")]
    language: Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(_[A-Z]{2})?$")] = "en_US"
    header: Media | Line | None = None
    body: Annotated[list[Words], Field(max_length=30)] = []
    buttons: Annotated[list[Line], Field(max_length=10)] = []
    """What is appended to the address of each button that has one to fill."""


class Reaction(Part):
    message_id: Id
    """The provider's id of the message that is reacted to."""
    emoji: Annotated[Text, StringConstraints(max_length=32)]
    """Empty: takes the reaction back."""


class Content(Part):
    subject: Line | None = None
    text: Words | None = None
    html: Words | None = None
    media: Media | None = None
    buttons: Annotated[list[Button], Field(max_length=10)] = []
    choices: Choices | None = None
    template: Approved | None = None
    reaction: Reaction | None = None
    reply_to: Id | None = None
    """The provider's id of the message that this one answers."""
    url: Url | None = None
    """Where a touch on a push notification leads."""
    data: Annotated[dict[Id, Annotated[Text, StringConstraints(max_length=1024)]], Field(max_length=20)] = {}
    """For the program that receives a push notification."""
    collapse: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,32}$")] | None = None
    """Of push notifications with the same one the newest takes the place of those before it."""
    variables: Annotated[
        dict[Annotated[str, StringConstraints(pattern=f"^{NAME}$")], Declared], Field(max_length=50)
    ] = Field(
        {}, description="Types of placeholders. Values of others are refused; those of the type are put into words."
    )
    language: Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8}){0,3}$")] | None = Field(
        None, description="How values of declared variables are written for readers whose own language nobody knows."
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.text or self.html or self.media or self.template or self.reaction):
            raise ValueError("Give a text, html, media, a template or a reaction.")
        return self

    def placeholders(self) -> frozenset[str]:
        """The names of all variables that it needs to be told."""
        return self._names() - {UNSUBSCRIBE_URL}

    @property
    def unsubscribes(self) -> bool:
        """Whether it shows its reader the way out."""
        return UNSUBSCRIBE_URL in self._names()

    def false_links(self) -> Iterator[str]:
        """Fields that want an address, and have a variable which is not declared as one."""
        urls = {"url": self.url, "media.url": self.media.url if self.media else None}
        urls |= {f"buttons.{place}.url": button.url for place, button in enumerate(self.buttons)}
        if self.template is not None and isinstance(self.template.header, Media):
            urls["template.header.url"] = self.template.header.url
        for path, url in urls.items():
            if url is not None and not url.startswith(_SCHEMES):
                [name] = _PLACEHOLDER.findall(url)
                if name != UNSUBSCRIBE_URL and not isinstance(self.variables.get(name), Link):
                    yield path

    def undeclared(self) -> Self:
        """Without its declarations: for those whose values have been put into words."""
        return self.model_copy(update={"variables": {}, "language": None}) if self.variables or self.language else self

    def filled(self, values: Mapping[str, str]) -> Self:
        """With the values in place of their names. Raises KeyError for one that is missing."""

        def plain(text: str) -> str:
            return _PLACEHOLDER.sub(lambda found: values[found[1]], text) if "{{" in text else text

        def escaped(text: str) -> str:
            return _PLACEHOLDER.sub(lambda found: html.escape(values[found[1]]), text)

        filled: Self = _mapped(self, plain, escaped)
        return filled

    def _names(self) -> frozenset[str]:
        return frozenset(name for text in _texts(self.model_dump()) for name in _PLACEHOLDER.findall(text))


def _mapped(part: Any, plain: Callable[[str], str], escaped: Callable[[str], str]) -> Any:
    if isinstance(part, str):
        return plain(part)
    if isinstance(part, list):
        return [_mapped(each, plain, escaped) for each in part]
    if isinstance(part, dict):
        return {key: _mapped(each, plain, escaped) for key, each in part.items()}
    if isinstance(part, BaseModel):
        given = {name: value for name, value in part if value}
        changed = {name: _mapped(value, escaped if name == "html" else plain, escaped) for name, value in given.items()}
        return part.model_copy(update=changed)
    return part


def split(text: str) -> list[str]:
    """Text and names in turns, the first a text: for those who put values in themselves, many times."""
    return _PLACEHOLDER.split(text)


def _texts(part: Any) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for each in part.values():
            yield from _texts(each)
    elif isinstance(part, list):
        for each in part:
            yield from _texts(each)
