"""Forged, foreign, expired and malformed tokens, in both algorithms."""

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any, get_args
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from joserfc import jwk, jws

from libs.errors import InvalidToken, TokenExpired, Unauthenticated, WrongTokenType
from libs.keys import USER, Algorithm, KeyRing, WeakKey, _new_key
from libs.testing.clock import FakeClock
from libs.testing.tokens import access_claims, access_token
from libs.tokens import SERVICE, Issuer, ServiceTokens, Verifier

ALGORITHMS = get_args(Algorithm)


@pytest.fixture(params=ALGORITHMS)
def ring(request: pytest.FixtureRequest, tmp_path: Path) -> KeyRing:
    return KeyRing.create(tmp_path / "ring.json", request.param)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def verifier(ring: KeyRing, clock: FakeClock) -> Verifier:
    return Verifier(ring, clock)


def encode(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def forge(ring: KeyRing, header: dict[str, Any], claims: Any = None) -> str:
    """A token with any header, truly signed with the active key."""
    key = ring.signing_key(USER)
    signing_input = f"{encode(header)}.{encode(claims or access_claims(uuid4()))}"
    algorithm = jws.JWSRegistry.algorithms[key.alg]
    return f"{signing_input}.{encode(algorithm.sign(signing_input.encode(), key.jwk))}"


def good_header(ring: KeyRing) -> dict[str, Any]:
    key = ring.signing_key(USER)
    return {"alg": key.alg, "kid": key.kid, "typ": "at+jwt"}


def test_a_good_token_passes_twice(ring: KeyRing, verifier: Verifier) -> None:
    user = str(uuid4())
    token = access_token(ring, access_claims(user))
    assert verifier.verify(token).sub == user
    assert verifier.verify(token).sub == user


def test_the_forging_helper_makes_valid_tokens(ring: KeyRing, verifier: Verifier) -> None:
    """Otherwise every test below would pass for the wrong reason."""
    assert verifier.verify(forge(ring, good_header(ring))).roles == ("user",)


@pytest.mark.parametrize("alg", ["none", "None", "nOnE", "", None])
def test_unsigned_tokens_are_refused(ring: KeyRing, verifier: Verifier, alg: str | None) -> None:
    header = good_header(ring) | {"alg": alg}
    claims = encode(access_claims(uuid4()))
    for token in (f"{encode(header)}.{claims}.", f"{encode(header)}.{claims}.AAAA", forge(ring, header)):
        with pytest.raises(InvalidToken):
            verifier.verify(token)


def test_a_header_without_algorithm_is_refused(ring: KeyRing, verifier: Verifier) -> None:
    header = good_header(ring)
    del header["alg"]
    with pytest.raises(InvalidToken):
        verifier.verify(forge(ring, header))


def test_a_public_key_is_no_shared_secret(tmp_path: Path, clock: FakeClock) -> None:
    ring = KeyRing.create(tmp_path / "es.json", "ES256")
    public = ring.signing_key(USER).jwk
    assert isinstance(public, jwk.ECKey)
    raw = public.public_key
    assert isinstance(raw, ec.EllipticCurvePublicKey)
    pem = raw.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    der = raw.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    secrets = [pem, pem.strip(), der, json.dumps(public.as_dict(private=False)).encode()]
    header = good_header(ring) | {"alg": "HS256"}
    for secret in secrets:
        signing_input = f"{encode(header)}.{encode(access_claims(uuid4()))}"
        signature = hmac.digest(secret, signing_input.encode(), "sha256")
        with pytest.raises(InvalidToken):
            Verifier(ring, clock).verify(f"{signing_input}.{encode(signature)}")


@pytest.mark.parametrize("alg", ["HS256", "HS512", "ES256", "ES384", "RS256", "PS256", "EdDSA", "hs256", 7, ["HS256"]])
def test_only_the_algorithm_of_the_key_is_accepted(ring: KeyRing, verifier: Verifier, alg: object) -> None:
    if alg == ring.signing_key(USER).alg:
        pytest.skip("this is the key's own algorithm")
    with pytest.raises(InvalidToken):
        verifier.verify(forge(ring, good_header(ring) | {"alg": alg}))


@pytest.mark.parametrize(
    "kid",
    ["../../dev/null", "' OR 1=1--", "http://127.0.0.1:1/jwks", "k" * 1000, "", 7, None, ["a"], {"a": 1}, "unknown"],
)
def test_key_ids_are_only_looked_up(ring: KeyRing, verifier: Verifier, kid: object) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(forge(ring, good_header(ring) | {"kid": kid}))


@pytest.mark.parametrize(
    "more",
    [
        {"jwk": {"kty": "oct", "k": "AAAA"}},
        {"jku": "http://127.0.0.1:1/"},
        {"x5u": "http://127.0.0.1:1/"},
        {"x5c": ["AAAA"]},
        {"crit": ["exp"]},
        {"crit": ["unknown"], "unknown": 1},
        {"b64": False, "crit": ["b64"]},
        {"zip": "DEF"},
        {"cty": "JWT"},
    ],
)
def test_further_header_members_are_refused(ring: KeyRing, verifier: Verifier, more: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(forge(ring, good_header(ring) | more))


def test_expiry_counts_with_the_leeway_and_not_beyond(ring: KeyRing, clock: FakeClock, verifier: Verifier) -> None:
    token = access_token(ring, access_claims(uuid4()))
    clock.advance(900 + 10)
    assert verifier.verify(token)
    clock.advance(25)
    with pytest.raises(TokenExpired):
        verifier.verify(token)
    with pytest.raises(TokenExpired):
        Verifier(ring, clock).verify(token)


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf", "iat_ms"])
@pytest.mark.parametrize("value", [None, "9999999999", 9e9, float("inf"), -1.5, True, [], {}])
def test_times_must_be_whole_numbers(ring: KeyRing, verifier: Verifier, claim: str, value: object) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(access_token(ring, access_claims(uuid4(), **{claim: value})))


@pytest.mark.parametrize("claim", ["nbf", "iat"])
def test_tokens_from_the_future_are_refused(ring: KeyRing, verifier: Verifier, claim: str) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(access_token(ring, access_claims(uuid4(), **{claim: int(time.time()) + 3600})))


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "other"},
        {"iss": None},
        {"aud": "chat"},
        {"aud": None},
        {"aud": ["parley"]},
        {"sub": None},
        {"sub": 7},
        {"sid": None},
        {"sid": ""},
        {"jti": None},
        {"type": "refresh"},
        {"type": None},
        {"roles": "admin"},
    ],
)
def test_every_claim_is_required_with_its_type(ring: KeyRing, verifier: Verifier, changed: dict[str, object]) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(access_token(ring, access_claims(uuid4(), **changed)))


def test_service_tokens_open_their_target_only(ring: KeyRing, clock: FakeClock, verifier: Verifier) -> None:
    token = ServiceTokens(ring, "chat", clock).token_for("auth")
    assert Verifier(ring, clock, typ=SERVICE, audience="auth").verify(token).sub == "chat"
    with pytest.raises(Unauthenticated):
        Verifier(ring, clock, typ=SERVICE, audience="notify").verify(token)
    with pytest.raises(WrongTokenType):
        verifier.verify(token)


def test_an_access_token_opens_no_internal_route(ring: KeyRing, clock: FakeClock) -> None:
    token = access_token(ring, access_claims(uuid4()))
    with pytest.raises(WrongTokenType):
        Verifier(ring, clock, typ=SERVICE, audience="auth").verify(token)


def test_a_service_cannot_sign_for_users_or_for_another_service(
    ring: KeyRing, clock: FakeClock, verifier: Verifier
) -> None:
    with pytest.raises(InvalidToken):
        verifier.verify(Issuer(ring, owner="chat").sign(access_claims(uuid4())))
    claims = access_claims("notify", aud="auth")
    foreign = Issuer(ring, owner="chat", typ=SERVICE).sign(claims)
    with pytest.raises(InvalidToken):
        Verifier(ring, clock, typ=SERVICE, audience="auth").verify(foreign)


def malformed(token: str) -> list[str]:
    header, claims, signature = token.split(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    other_last = last[last.index(signature[-1]) ^ 1]
    return [
        "",
        "a",
        "..",
        "....",
        token + ".",
        token + "=",
        token + "\n",
        " " + token,
        f"{header}.{claims}.{signature}.{signature}",
        f"{header}.{claims}.{signature[:-4]}",
        f"{header}.{claims}.{signature}AAAA",
        # The last character holds bits that the signature has no room for.
        f"{header}.{claims}.{signature[:-1]}{other_last}",
        f"{header}.{claims[:-1]}{'A' if claims[-1] != 'A' else 'B'}.{signature}",
        f"{header}.{claims}.{signature[:10]}+/{signature[12:]}",
        f"{header}.{claims}.{signature[:10]}\x00{signature[11:]}",
        f"{encode([1])}.{claims}.{signature}",
        f"{encode(b'{' * 500)}.{claims}.{signature}",
        f"{encode(b'x')}.{claims}.{signature}",
        token * 200,
    ]


def test_malformed_texts_are_refused(ring: KeyRing, verifier: Verifier) -> None:
    token = access_token(ring, access_claims(uuid4()))
    for text in malformed(token):
        with pytest.raises(InvalidToken):
            verifier.verify(text)
    assert verifier.verify(token)


@pytest.mark.parametrize("payload", [b"[]", b"7", b"null", b"{", b"\xff", b"[" * 3000])
def test_claims_must_be_an_object(ring: KeyRing, verifier: Verifier, payload: bytes) -> None:
    key = ring.signing_key(USER)
    signing_input = f"{encode(good_header(ring))}.{encode(payload)}"
    signature = jws.JWSRegistry.algorithms[key.alg].sign(signing_input.encode(), key.jwk)
    with pytest.raises(InvalidToken):
        verifier.verify(f"{signing_input}.{encode(signature)}")


@pytest.mark.promise("A46")
def test_rotation_refuses_no_token_and_retires_the_old_key(ring: KeyRing, clock: FakeClock, verifier: Verifier) -> None:
    before = access_token(ring, access_claims(uuid4()))
    announced = {key.kid for key in ring.all() if key.state == "next" and key.owner == USER}
    ring.rotate(USER, keep_seconds=3600)
    after = access_token(ring, access_claims(uuid4()))
    assert ring.signing_key(USER).kid in announced
    assert verifier.verify(before)
    assert verifier.verify(after)
    ring.rotate(USER, keep_seconds=0)
    with pytest.raises(InvalidToken):
        Verifier(ring, clock).verify(before)


def test_another_process_sees_a_rotated_ring(ring: KeyRing, tmp_path: Path, clock: FakeClock) -> None:
    other = KeyRing(tmp_path / "ring.json")
    ring.rotate(USER, keep_seconds=3600)
    ring.rotate(USER, keep_seconds=3600)
    other._looked = 0.0  # a second has passed
    assert Verifier(other, clock).verify(access_token(ring, access_claims(uuid4())))


def test_a_removed_key_ends_remembered_tokens(ring: KeyRing, verifier: Verifier) -> None:
    token = access_token(ring, access_claims(uuid4()))
    assert verifier.verify(token)
    ring.rotate(USER, keep_seconds=0)
    ring.rotate(USER, keep_seconds=0)
    with pytest.raises(InvalidToken):
        verifier.verify(token)


def test_a_ring_for_one_service_holds_one_private_key(tmp_path: Path) -> None:
    ring = KeyRing.create(tmp_path / "full.json", "ES256")
    ring.write_for("chat", tmp_path / "chat.json")
    mine = KeyRing(tmp_path / "chat.json")
    assert {key.owner for key in mine.all() if key.private} == {"chat"}
    with pytest.raises(LookupError):
        mine.signing_key(USER)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_name_of_a_key_is_no_option_of_a_command(algorithm: Algorithm) -> None:
    made = [_new_key(algorithm, USER, "next", 0).kid for _ in range(500)]
    assert not [kid for kid in made if kid.startswith("-")]


def test_weak_secrets_stop_the_start(tmp_path: Path) -> None:
    path = tmp_path / "weak.json"
    KeyRing.create(path)
    document = json.loads(path.read_text())
    document["keys"][0]["key"]["k"] = encode(b"twenty bytes of text")
    path.write_text(json.dumps(document))
    with pytest.raises(WeakKey):
        KeyRing(path)


def test_a_ring_file_is_private_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "ring.json"
    ring = KeyRing.create(path)
    assert path.stat().st_mode & 0o077 == 0
    path.chmod(0o640)
    ring.rotate(USER, keep_seconds=60)
    assert path.stat().st_mode & 0o777 == 0o640
