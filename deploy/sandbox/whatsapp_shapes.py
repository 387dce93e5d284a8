"""What may be posted to WhatsApp's messages, field by field.

Facts: Meta's pages on messages (of 2026-06-17) and its OpenAPI description of business messaging (v23.0), looked
up in November 2026. Types that Parley does not send (location, contacts, flows, products) are refused as unknown ones.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


Title = Annotated[str, Field(min_length=1, max_length=20)]
Words = Annotated[str, Field(min_length=1, max_length=1024)]
Link = Annotated[str, Field(pattern=r"^https?://\S+$", max_length=2048)]


class Text(Shape):
    body: Annotated[str, Field(min_length=1, max_length=4096)]
    preview_url: bool = False


class File(Shape):
    id: Annotated[str, Field(pattern=r"^[0-9]+$")] | None = None
    link: Link | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.id is None) == (self.link is None):
            raise ValueError("either id or link")
        return self


class Captioned(File):
    caption: Words | None = None


class Document(Captioned):
    filename: Annotated[str, Field(max_length=240)] | None = None


class Reply(Shape):
    id: Annotated[str, Field(min_length=1, max_length=256)]
    title: Title


class ReplyButton(Shape):
    type: Literal["reply"]
    reply: Reply


class ReplyAction(Shape):
    buttons: Annotated[list[ReplyButton], Field(min_length=1, max_length=3)]

    @model_validator(mode="after")
    def _different(self) -> Self:
        if len({each.reply.title for each in self.buttons}) < len(self.buttons):
            raise ValueError("titles differ")
        return self


class Row(Shape):
    id: Annotated[str, Field(min_length=1, max_length=200)]
    title: Annotated[str, Field(min_length=1, max_length=24)]
    description: Annotated[str, Field(max_length=72)] | None = None


class Section(Shape):
    title: Annotated[str, Field(max_length=24)] | None = None
    rows: Annotated[list[Row], Field(min_length=1, max_length=10)]


class ListAction(Shape):
    button: Title
    sections: Annotated[list[Section], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _ten(self) -> Self:
        if sum(len(each.rows) for each in self.sections) > 10:
            raise ValueError("at most ten rows")
        return self


class UrlParameters(Shape):
    display_text: Title
    url: Link


class UrlAction(Shape):
    name: Literal["cta_url"]
    parameters: UrlParameters


class Body(Shape):
    text: Words


class LongBody(Shape):
    text: Annotated[str, Field(min_length=1, max_length=4096)]


class Header(Shape):
    type: Literal["text", "image", "video", "document"]
    text: Annotated[str, Field(max_length=60)] | None = None
    image: File | None = None
    video: File | None = None
    document: Document | None = None


class Buttons(Shape):
    type: Literal["button"]
    header: Header | None = None
    body: Body
    action: ReplyAction


class List(Shape):
    type: Literal["list"]
    body: LongBody
    action: ListAction


class Cta(Shape):
    type: Literal["cta_url"]
    header: Header | None = None
    body: Body
    action: UrlAction


class Parameter(Shape):
    type: Literal["text", "image", "video", "document"]
    text: str | None = None
    image: File | None = None
    video: File | None = None
    document: Document | None = None


class Component(Shape):
    type: Literal["header", "body", "button"]
    sub_type: Literal["url", "quick_reply", "copy_code"] | None = None
    index: Annotated[str, Field(pattern=r"^[0-9]$")] | None = None
    parameters: list[Parameter] = []


class Language(Shape):
    code: Annotated[str, Field(min_length=2, max_length=10)]
    policy: Literal["deterministic"] | None = None


class Template(Shape):
    name: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,512}$")]
    language: Language
    components: list[Component] = []


class Reaction(Shape):
    message_id: Annotated[str, Field(min_length=1)]
    emoji: Annotated[str, Field(max_length=32)]


class Context(Shape):
    message_id: Annotated[str, Field(min_length=1)]


class Post(Shape):
    """What every message has. `recipient` is a business-scoped user id; where `to` is there as well, `to` counts."""

    messaging_product: Literal["whatsapp"]
    recipient_type: Literal["individual"] = "individual"
    to: Annotated[str, Field(pattern=r"^\+?[0-9]{7,15}$")] | None = None
    recipient: Annotated[str, Field(pattern=r"^[A-Z]{2}\.(ENT\.)?[A-Za-z0-9]{1,128}$")] | None = None
    biz_opaque_callback_data: Annotated[str, Field(max_length=512)] | None = None
    context: Context | None = None

    def content(self) -> Any:
        """What stands below the name of the type."""
        return getattr(self, self.type)  # type: ignore[attr-defined]


class TextPost(Post):
    type: Literal["text"] = "text"
    text: Text


class ImagePost(Post):
    type: Literal["image"]
    image: Captioned


class VideoPost(Post):
    type: Literal["video"]
    video: Captioned


class AudioPost(Post):
    type: Literal["audio"]
    audio: File


class StickerPost(Post):
    type: Literal["sticker"]
    sticker: File


class DocumentPost(Post):
    type: Literal["document"]
    document: Document


class InteractivePost(Post):
    type: Literal["interactive"]
    interactive: Annotated[Buttons | List | Cta, Field(discriminator="type")]


class TemplatePost(Post):
    type: Literal["template"]
    template: Template


class ReactionPost(Post):
    type: Literal["reaction"]
    reaction: Reaction


AnyPost = (
    TextPost
    | ImagePost
    | VideoPost
    | AudioPost
    | StickerPost
    | DocumentPost
    | InteractivePost
    | TemplatePost
    | ReactionPost
)
POSTS: TypeAdapter[AnyPost] = TypeAdapter(Annotated[AnyPost, Field(discriminator="type")])


class Typing(Shape):
    type: Literal["text"]


class Read(Shape):
    """That the business has read what somebody wrote."""

    messaging_product: Literal["whatsapp"]
    status: Literal["read"]
    message_id: Annotated[str, Field(min_length=1)]
    typing_indicator: Typing | None = None
