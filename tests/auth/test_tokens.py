"""Access tokens: what they say, and that nothing else passes for one. In both algorithms."""

import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwk, jws

from libs.keys import USER, KeyRing, WeakKey
from libs.testing.tokens import access_claims, access_token
from libs.tokens import SERVICE, Issuer
from tests.auth.api import PASSWORD, Api, claims, session_of, unique
from tests.auth.conftest import OpenApi, SettingsFor

# The order of the group of P-256: s and N - s are both valid signatures of one message.
_N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def encode(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode(segment: str) -> bytes:
    return base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))


def header_of(api: Api, **changed: Any) -> dict[str, Any]:
    key = api.ring.signing_key(USER)
    header = {"alg": key.alg, "kid": key.kid, "typ": "at+jwt", **changed}
    return {k: v for k, v in header.items() if v is not ...}


def forged(api: Api, header: dict[str, Any], payload: dict[str, object] | None = None) -> str:
    """Truly signed with the active key, whatever the header says."""
    key = api.ring.signing_key(USER)
    body = f"{encode(header)}.{encode(payload or access_claims(uuid4()))}"
    return f"{body}.{encode(jws.JWSRegistry.algorithms[key.alg].sign(body.encode(), key.jwk))}"


async def refusal(api: Api, token: str) -> str:
    answer = await api.me(token)
    assert answer.status_code == 401
    code: str = answer.json()["code"]
    return code


@pytest.mark.promise("A15")
async def test_an_access_token_says_who_when_and_how(either: Api) -> None:
    made = await either.register()
    header = json.loads(decode(made.access.partition(".")[0]))
    said = claims(made.access)
    assert header == header_of(either)
    user = str(made.id)
    assert {k: said[k] for k in ("iss", "aud", "sub", "user_id", "userId", "email", "type")} == {
        "iss": "parley", "aud": "parley", "sub": user, "user_id": user, "userId": user, "email": made.email,
        "type": "access",
    }  # fmt: skip
    assert {k: said[k] for k in ("ver", "roles", "amr", "aal")} == {
        "ver": 1,
        "roles": ["user"],
        "amr": ["pwd"],
        "aal": 1,
    }
    assert said["iat"] == said["nbf"] == said["iat_ms"] // 1000
    assert said["sid"]
    assert said["jti"]
    assert (await either.me(made.access)).status_code == 200


@pytest.mark.promise("A15")
async def test_an_access_token_is_short(either: Api) -> None:
    made = await either.register(email=f"{unique()}.somebody@example.com")
    assert len(made.access) <= {"HS256": 700, "ES256": 800}[either.ring.signing_key(USER).alg]


async def test_an_account_without_an_address_says_null(api: Api) -> None:
    answer = await api.post("/api/v1/auth/register", {"phone_number": "+14155550199", "password": PASSWORD})
    assert claims(answer.json()["access"])["email"] is None


@pytest.mark.promise("A59")
async def test_lifetimes_differ_a_little_and_never_exceed_fifteen_minutes(api: Api) -> None:
    made = await api.register()
    lives, token = set(), made.refresh
    for _ in range(12):
        pair = (await api.refresh(token)).json()
        token = pair["refresh"]
        said = claims(pair["access"])
        lives.add(said["exp"] - said["iat"])
    assert len(lives) > 1
    assert all(855 <= life <= 900 for life in lives)


@pytest.mark.promise("A15")
async def test_an_access_token_ends_after_fifteen_minutes(aging: Api) -> None:
    made = await aging.register()
    aging.clock.advance(850)
    assert (await aging.me(made.access)).status_code == 200
    aging.clock.advance(81)
    assert await refusal(aging, made.access) == "token_expired"


@pytest.mark.promise("T1")
@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "", None, ...])
async def test_unsigned_tokens_are_refused(either: Api, alg: object) -> None:
    header = encode(header_of(either, alg=alg))
    body = encode(access_claims((await either.register()).id))
    for token in (f"{header}.{body}.", f"{header}.{body}.AA", forged(either, header_of(either, alg=alg))):
        assert await refusal(either, token) in ("invalid_token", "invalid_token_format")


@pytest.mark.promise("T2")
async def test_a_public_key_is_no_shared_secret(open_api: OpenApi, tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "ring.json", "ES256")
    key = ring.signing_key(USER).jwk
    assert isinstance(key, jwk.ECKey)
    pem = key.public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = key.public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    async with open_api(key_ring=tmp_path / "ring.json") as api:
        published = (await api.get("/.well-known/jwks.json")).json()["keys"][0]
        for secret in (pem, pem.strip(), der, json.dumps(published).encode()):
            body = f"{encode(header_of(api, alg='HS256'))}.{encode(access_claims(uuid4()))}"
            token = f"{body}.{encode(hmac.digest(secret, body.encode(), hashlib.sha256))}"
            assert await refusal(api, token) == "invalid_token"


@pytest.mark.promise("T3")
@pytest.mark.parametrize("alg", ["RS256", "ES384", "HS512", "PS256", "EdDSA", "other"])
async def test_a_key_has_one_algorithm(either: Api, alg: str) -> None:
    own = either.ring.signing_key(USER).alg
    claimed = {"HS256": "ES256", "ES256": "HS256"}[own] if alg == "other" else alg
    assert await refusal(either, forged(either, header_of(either, alg=claimed))) == "invalid_token"


@pytest.mark.promise("T4")
@pytest.mark.parametrize(
    "kid", ["../../dev/null", "' OR 1=1--", "http://127.0.0.1:1/jwks", "k" * 2000, ["a"], 7, None, "unknown"]
)
async def test_a_key_id_is_looked_up_and_nothing_else(either: Api, kid: object) -> None:
    answer = await either.me(forged(either, header_of(either, kid=kid)))
    assert answer.status_code == 401
    assert answer.headers["X-Database-Queries"] == "0"


@pytest.mark.promise("T5", "T6")
@pytest.mark.parametrize(
    "more",
    [
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"jku": "http://127.0.0.1:1/"},
        {"x5u": "http://127.0.0.1:1/"},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"]},
        {"crit": ["b64"], "b64": False},
        {"zip": "DEF"},
        {"enc": "A256GCM"},
    ],
)
async def test_further_header_members_are_refused(either: Api, more: dict[str, Any]) -> None:
    assert await refusal(either, forged(either, header_of(either, **more))) == "invalid_token"


@pytest.mark.promise("T7")
@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"exp": -31}, "token_expired"),
        ({"nbf": 120}, "invalid_token"),
        ({"iat": 120}, "invalid_token"),
        ({"exp": None}, "invalid_token"),
        ({"exp": "9999999999"}, "invalid_token"),
        ({"exp": 9999999999.5}, "invalid_token"),
        ({"exp": True}, "invalid_token"),
        ({"exp": float("inf")}, "invalid_token"),
        ({"exp": -1e300}, "invalid_token"),
    ],
)
async def test_times_are_checked(either: Api, changed: dict[str, Any], code: str) -> None:
    now = int(time.time())
    changed = {k: now + v if type(v) is int else v for k, v in changed.items()}
    made = await either.register()
    payload = access_claims(made.id, sid=session_of(made.access), **changed)
    assert await refusal(either, access_token(either.ring, payload)) == code


@pytest.mark.promise("T8")
@pytest.mark.parametrize(
    "changed",
    [{"iss": "other"}, {"iss": None}, {"aud": "chat"}, {"aud": None}, {"aud": ["parley"]}, {"aud": ["chat", "auth"]}],
)
async def test_issuer_and_audience_are_checked(either: Api, changed: dict[str, Any]) -> None:
    made = await either.register()
    payload = access_claims(made.id, sid=session_of(made.access), **changed)
    assert await refusal(either, access_token(either.ring, payload)) == "invalid_token"


@pytest.mark.promise("T9")
@pytest.mark.parametrize("typ", ["svc+jwt", "mfa+jwt", "id+jwt", "JWT", "refresh+jwt", "AT+JWT"])
async def test_tokens_of_other_kinds_are_no_access_tokens(either: Api, typ: str) -> None:
    assert await refusal(either, forged(either, header_of(either, typ=typ))) == "wrong_token_type"


@pytest.mark.promise("T9")
async def test_refresh_and_access_tokens_do_not_pass_for_each_other(either: Api) -> None:
    made = await either.register()
    assert await refusal(either, made.refresh) == "invalid_token"
    swapped = await either.refresh(made.access)
    assert swapped.status_code == 401
    assert swapped.json()["code"] == "wrong_token_type"
    assert (await either.refresh(made.refresh)).status_code == 200


@pytest.mark.promise("T9")
async def test_service_and_access_tokens_do_not_pass_for_each_other(either: Api) -> None:
    made = await either.register()
    service = Issuer(either.ring, owner="chat", typ=SERVICE).sign(access_claims("chat", aud="auth"))
    assert await refusal(either, service) == "wrong_token_type"
    answer = await either.get("/internal/revocations", headers={"X-Service-Authorization": f"Bearer {made.access}"})
    assert answer.status_code == 401


@pytest.mark.promise("T10")
async def test_a_token_has_one_spelling(either: Api) -> None:
    made = await either.register()
    head, body, signature = made.access.split(".")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other_last = alphabet[alphabet.index(signature[-1]) ^ 1]
    flipped = body[:20] + ("A" if body[20] != "A" else "B") + body[21:]
    doubled = encode(decode(body)[:-1] + b',"sub":"x"}')
    for token in (
        f"{head}.{flipped}.{signature}",
        f"{head}.{doubled}.{signature}",
        f"{head}.{body}.{signature[:-4]}",
        f"{head}.{body}.{signature}AAAA",
        f"{head}.{body}.{signature[:-1]}{other_last}",
        f"{head}.{body}.{signature}=",
        f"{head}.{body}.{signature[:9]}+/{signature[11:]}",
        f"{head}.{body}.{signature}.{signature}.x",
        f"{head}.{body}",
        "A" * 100_000,
        f"{head}.{body}.{signature[:9]} {signature[10:]}",
    ):
        assert await refusal(either, token) == "invalid_token"
    assert (await either.me(made.access)).status_code == 200


@pytest.mark.promise("T11")
async def test_a_twisted_copy_of_a_revoked_token_is_revoked(open_api: OpenApi, tmp_path: Path) -> None:
    KeyRing.create(tmp_path / "ring.json", "ES256")
    async with open_api(key_ring=tmp_path / "ring.json") as api:
        made = await api.register()
        head, body, signature = made.access.split(".")
        raw = decode(signature)
        r, s = int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big")
        twin = f"{head}.{body}.{encode(r.to_bytes(32, 'big') + (_N - s).to_bytes(32, 'big'))}"
        assert (await api.me(twin)).status_code == 200
        await api.post("/api/v1/auth/logout", {}, made.access)
        assert await api.ended(twin) == "token_revoked"


@pytest.mark.promise("T13")
@pytest.mark.parametrize("size", [0, 16, 31])
async def test_a_weak_key_keeps_auth_from_starting(
    settings_for: SettingsFor, open_api: OpenApi, tmp_path: Path, size: int
) -> None:
    path = tmp_path / "ring.json"
    KeyRing.create(path)
    document = json.loads(path.read_text())
    document["keys"][0]["key"]["k"] = encode(b"k" * size)
    path.write_text(json.dumps(document))
    with pytest.raises((WeakKey, ValueError)):
        async with open_api(key_ring=path):
            pass


@pytest.mark.promise("T13")
@pytest.mark.parametrize("name", ["refresh_keys", "field_keys", "database_url"])
async def test_public_defaults_of_secrets_are_for_development(settings_for: SettingsFor, name: str) -> None:
    keys = {"refresh_keys": f"1:{encode(b'r' * 32)}", "field_keys": f"k:{encode(b'f' * 32)}"}
    assert (await settings_for(environment="production", **keys)).environment == "production"
    default = type(await settings_for()).model_fields[name].default
    with pytest.raises(ValueError, match=name.upper()):
        await settings_for(environment="production", **{**keys, name: default})


@pytest.mark.promise("T13")
@pytest.mark.parametrize("keys", ["", "1", "1:AAAA", "256:" + "A" * 43, "a:" + "A" * 43, "1:" + "A" * 43 + ","])
async def test_a_malformed_refresh_key_keeps_auth_from_starting(open_api: OpenApi, keys: str) -> None:
    with pytest.raises(ValueError, match=r"refresh key|base64"):
        async with open_api(refresh_keys=keys):
            pass


@pytest.mark.promise("T15")
async def test_two_authorization_headers_are_refused(either: Api) -> None:
    made = await either.register()
    headers = [("Authorization", f"Bearer {made.access}"), ("Authorization", "Bearer other")]
    answer = await either.http.get("/api/v1/users/me", headers=headers)
    assert answer.status_code == 400
    assert answer.json()["code"] == "ambiguous_credentials"


async def test_no_token_and_another_scheme_are_refused(api: Api) -> None:
    assert (await api.get("/api/v1/users/me")).json()["code"] == "not_authenticated"
    made = await api.register()
    for value in ("Basic YTpi", "Bearer", made.access):
        answer = await api.get("/api/v1/users/me", headers={"Authorization": value})
        assert answer.json()["code"] == "invalid_token_format"


async def test_a_token_of_somebody_who_does_not_exist_is_refused(api: Api) -> None:
    assert await refusal(api, access_token(api.ring, access_claims(uuid4()))) == "invalid_token"
