"""Signing in with an account elsewhere."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from libs.shapes import Body, Text

Url = Annotated[Text, Field(min_length=1, max_length=2000)]
Code = Annotated[Text, Field(min_length=1, max_length=2000)]


class ProviderShown(BaseModel):
    """`name` is for addresses, `label` for people."""

    name: str
    kind: str
    label: str


class ProviderList(BaseModel):
    results: list[ProviderShown]


class VisitBegin(Body):
    """`return_to` is one of the pages that the deployment names, to the letter."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"return_to": "https://app.example.com/signed-in"}]})

    return_to: Url


class VisitBegun(BaseModel):
    """Send the browser there. The cookie that comes with this answer must come back with the next calls."""

    authorization_url: str


class VisitCode(Body):
    """The code from the fragment of the page that the browser came back to."""

    code: Code


class VisitExchange(VisitCode):
    cookie: Annotated[bool, Field(strict=True, description="Tokens come as cookies that no script can read.")] = False


class ProviderGrant(Body):
    """What an app got that visited the provider itself, with the verifier (PKCE, S256) and the nonce that it chose."""

    code: Code
    redirect_uri: Url
    code_verifier: Annotated[Text, Field(pattern=r"^[A-Za-z0-9._~-]{43,128}$")]
    nonce: Annotated[Text, Field(min_length=16, max_length=200)] | None = None
    iss: Url | None = None
