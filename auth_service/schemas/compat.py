"""What existing clients send and read. Unknown keys of theirs are ignored."""

from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import AliasChoices, BaseModel, Field

from auth_service.domain.tokens import Holder
from auth_service.models import User
from auth_service.schemas.tokens import CamelTokens, TokenData, Tokens
from libs.shapes import Moment, Text

Given = Annotated[Text | None, Field(max_length=2048)]


class GivenCredentials(BaseModel):
    """Everything may be missing: what that means is said in each client's own words."""

    email: Given = None
    password: Given = None


class GivenAccount(GivenCredentials):
    username: Given = None
    first_name: Given = None
    last_name: Given = None


class GivenFacebookCode(BaseModel):
    code: Annotated[Text | None, Field(max_length=4096)] = None
    redirect_uri: Given = None


class GivenRefresh(BaseModel):
    refresh: Given = Field(None, validation_alias=AliasChoices("refresh", "refreshToken"))


class VerificationAsked(BaseModel):
    """Where addresses must be confirmed first, nobody is signed in yet."""

    success: Literal[True] = True
    message: str = "Confirm your e-mail address: open the link that was sent to you."


class SenderMessage(BaseModel):
    message: str


class SenderSignedOut(BaseModel):
    success: Literal[True] = True
    data: SenderMessage = SenderMessage(message="Successfully logged out")


class HubSignedOut(BaseModel):
    message: str = "Logged out successfully"


class HubPerson(BaseModel):
    id: UUID
    email: str | None
    createdAt: Moment  # noqa: N815
    updatedAt: Moment  # noqa: N815


class HubMe(HubPerson):
    """The same twice: one version of the client reads the top, another below `user`."""

    user: HubPerson

    @classmethod
    def of(cls, user: User) -> Self:
        shown = HubPerson(id=user.id, email=user.email, createdAt=user.created_at, updatedAt=user.updated_at)
        return cls(**shown.model_dump(), user=shown)


class RoomsPerson(BaseModel):
    """`id` is the person's number."""

    id: int
    username: str
    email: str | None
    first_name: str
    last_name: str

    @classmethod
    def of(cls, person: User | Holder) -> Self:
        return cls(
            id=person.number,
            username=person.username,
            email=person.email,
            first_name=person.first_name,
            last_name=person.last_name,
        )


class RoomsTokens(BaseModel):
    """The token answer with the person in the shape of this client."""

    success: Literal[True] = True
    access: str
    refresh: str
    accessToken: str  # noqa: N815
    refreshToken: str  # noqa: N815
    tokens: CamelTokens
    data: TokenData
    user: RoomsPerson

    @classmethod
    def of(cls, tokens: Tokens, person: Holder) -> Self:
        return cls(**tokens.model_dump(exclude={"user"}), user=RoomsPerson.of(person))


class RoomsSignedOut(BaseModel):
    detail: str = "Successfully logged out."
