"""What the Sender client's sign-in with Facebook rests on."""

import pytest

from auth_service.domain import social
from auth_service.domain.clients import NOBODY
from auth_service.domain.kit import Kit
from auth_service.domain.tokens import Pair
from auth_service.errors import FacebookRefused
from tests.auth.api import claims, unique
from tests.auth.conftest import OpenApi
from tests.auth.elsewhere import PAGE, Elsewhere, settings
from tests.auth.test_social import code_of_app

pytestmark = pytest.mark.promise("K12")


async def sign_in(elsewhere: Elsewhere, code: str, page: str = PAGE) -> Pair:
    kit: Kit = elsewhere.api.app.state.kit
    return await social.sign_in_with_facebook_code(kit, code, page, NOBODY)


async def refusal(elsewhere: Elsewhere, code: str, page: str = PAGE) -> str:
    with pytest.raises(FacebookRefused) as refused:
        await sign_in(elsewhere, code, page)
    assert refused.value.status == 400
    return refused.value.detail


async def code_for(elsewhere: Elsewhere, person: str, page: str = PAGE) -> str:
    """Without a verifier, as that client asks."""
    asked = f"/identity/facebook/authorize?client_id=parley&redirect_uri={page}&response_type=code"
    return (await elsewhere.browser().agree(asked, person)).partition("code=")[2]


async def test_an_access_token_in_the_place_of_a_code_gives_tokens(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person()
    pairs = [await sign_in(elsewhere, await elsewhere.facebook_token(person)) for _ in range(2)]
    assert pairs[0].user.id == pairs[1].user.id
    assert pairs[0].user.email == elsewhere.emails[person]
    lifetime = claims(pairs[0].access)["exp"] - claims(pairs[0].access)["iat"]
    assert lifetime == 12 * 3600


async def test_an_authorization_code_works_too(elsewhere: Elsewhere) -> None:
    person = await elsewhere.person(email=None)
    pair = await sign_in(elsewhere, await code_for(elsewhere, person))
    assert pair.user.email is None
    assert pair.user.id == (await sign_in(elsewhere, await elsewhere.facebook_token(person))).user.id


async def test_a_token_of_another_app_is_refused(elsewhere: Elsewhere) -> None:
    token = await elsewhere.facebook_token(await elsewhere.person(), app="another-app")
    assert await refusal(elsewhere, token) == "Failed to authenticate with Facebook"


@pytest.mark.parametrize(("code", "page"), [("", PAGE), ("abc", ""), ("", "")])
async def test_both_fields_are_wanted(elsewhere: Elsewhere, code: str, page: str) -> None:
    assert await refusal(elsewhere, code, page) == "Authorization code and redirect URI are required"


async def test_what_is_neither_token_nor_code_is_refused(elsewhere: Elsewhere) -> None:
    assert await refusal(elsewhere, "nonsense") == "Failed to exchange code for token"
    code = await code_for(elsewhere, await elsewhere.person())
    assert await refusal(elsewhere, code, "https://elsewhere.example.com/") == "Failed to exchange code for token"
    assert await refusal(elsewhere, code) == "Failed to exchange code for token"


async def test_a_person_that_cannot_be_read_is_refused(elsewhere: Elsewhere) -> None:
    token = await elsewhere.facebook_token(await elsewhere.person())
    # The first call of the API asks whose token it is, the second who that is.
    await elsewhere.trouble("facebook", "me", "server_error")
    assert await refusal(elsewhere, token) == "Failed to get user information"


async def test_facebook_out_of_order_or_not_configured_is_a_refusal(elsewhere: Elsewhere, open_api: OpenApi) -> None:
    await elsewhere.trouble("facebook", "api", "server_error")
    assert await refusal(elsewhere, "abc") == "Failed to authenticate with Facebook"
    async with open_api(**settings(elsewhere.origin, providers=None)) as api:
        with pytest.raises(FacebookRefused) as refused:
            await social.sign_in_with_facebook_code(api.app.state.kit, "abc", PAGE, NOBODY)
    assert refused.value.detail == "Failed to authenticate with Facebook"


async def test_an_address_from_facebook_opens_no_account(elsewhere: Elsewhere) -> None:
    made = await elsewhere.api.register()
    await elsewhere.api.post("/api/v1/auth/email/verify", {"token": await elsewhere.api.link_token(made.email)})
    pair = await sign_in(elsewhere, await elsewhere.facebook_token(await elsewhere.person(email=made.email)))
    assert pair.user.id != made.id
    assert pair.user.email is None


async def test_a_code_of_the_canonical_kind_is_not_weakened(elsewhere: Elsewhere) -> None:
    """Who asked with a challenge must bring the verifier."""
    got = await code_of_app(elsewhere, "facebook", await elsewhere.person(), verifier=unique() * 3, nonce="n" * 20)
    assert await refusal(elsewhere, got["code"]) == "Failed to exchange code for token"
