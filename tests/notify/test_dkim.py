"""Signatures, held against a reader of RFC 6376 that shares no code with their writer."""

import base64
import hashlib
import re
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from notify_service.domain.channels import Message, Setup
from notify_service.domain.channels.email import PROVIDER, Letter
from notify_service.domain.channels.email_account import Config, Secrets
from notify_service.domain.content import Content
from notify_service.domain.dkim import Signer, relaxed_body

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
RSA_KEY = rsa.generate_private_key(65_537, 2048)
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> str:
    return str(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def relaxed(line: str) -> str:
    name, value = line.split(":", 1)
    return f"{name.lower().strip()}:{' '.join(value.split())}"


def verify(mail: bytes, key: Any) -> dict[str, str]:
    """The tags of the first header, if it is a signature that holds. Raises InvalidSignature."""
    head, _, body = mail.decode("ascii").partition("\r\n\r\n")
    lines = re.sub(r"\r\n([ \t])", r"\1", head).split("\r\n")
    tags = {name.strip(): "".join(value.split()) for name, value in (
        each.split("=", 1) for each in lines[0].split(":", 1)[1].split(";") if each.strip()
    )}  # fmt: skip
    kept = [re.sub(r"[ \t]+", " ", line).rstrip(" ") for line in body.split("\r\n")]
    while kept and not kept[-1]:
        kept.pop()
    digest = hashlib.sha256("".join(f"{line}\r\n" for line in kept).encode()).digest()
    if base64.b64decode(tags["bh"]) != digest:
        raise InvalidSignature
    left = lines[1:]
    signed = ""
    for name in tags["h"].split(":"):
        # From the last one upwards (5.4.2); one that is not there adds nothing.
        found = next((line for line in reversed(left) if line.lower().startswith(f"{name}:")), None)
        if found is not None:
            left.remove(found)
            signed += relaxed(found) + "\r\n"
    signed += relaxed(re.sub(r"(;\s*b=)[^;]*$", r"\1", lines[0]))
    proof = base64.b64decode(tags["b"])
    if tags["a"] == "rsa-sha256":
        key.public_key().verify(proof, signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        key.public_key().verify(proof, hashlib.sha256(signed.encode()).digest())
    return tags


CONFIG = Config.model_validate(
    {
        "host": "h.test",
        "security": "none",
        "sender": "Parley <parley@example.test>",
        "dkim": {"domain": "example.test", "selector": "s1"},
    }
)


def mail(key: Any, *, text: str = "Dear {{name}}", subject: str = "Hello") -> bytes:
    channel = PROVIDER.open(Setup("m", CONFIG, Secrets.model_validate({"dkim_key": pem(key)})))
    content = Content.model_validate({"subject": subject, "text": text, "html": "<p>x</p>"})
    given = {"template": None, "secret": None, "content": content, "unsubscribe": "https://example.test/u/x"}
    letter = channel.render(Message(uuid4(), "ada@example.test", variables={"name": "Ada"}, at=NOW, **given))
    assert isinstance(letter, Letter)
    return letter.content


@pytest.mark.promise("N66")
@pytest.mark.parametrize("key", [RSA_KEY, ED_KEY], ids=["rsa", "ed25519"])
def test_signature_holds_and_covers_what_readers_see(key: Any) -> None:
    tags = verify(mail(key), key)
    assert (tags["d"], tags["s"], tags["c"], tags["t"]) == ("example.test", "s1", "relaxed/relaxed", "1767323045")
    assert tags["h"].split(":") == [
        *("from", "from", "to", "subject", "date", "message-id", "list-unsubscribe", "list-unsubscribe-post"),
        *("mime-version", "content-type"),
    ]


@pytest.mark.promise("N66")
@pytest.mark.parametrize(
    ("this", "that"),
    [
        (b"Subject: Hello", b"Subject: Hallo"),
        (b"https://example.test/u/x", b"https://example.test/u/y"),
        (b"List-Unsubscribe=One-Click", b"List-Unsubscribe=Two-Click"),
        (b"Dear", b"Dead"),
        (b"To: ada", b"To: bob"),
        (b"From: Parley", b"From: Barley"),
        (b"MIME-Version", b"From: other@example.test\r\nMIME-Version"),
    ],
)
def test_signature_breaks_when_something_changes(this: bytes, that: bytes) -> None:
    changed = mail(ED_KEY).replace(this, that, 1)
    with pytest.raises(InvalidSignature):
        verify(changed, ED_KEY)


def test_signature_survives_what_servers_on_the_way_do() -> None:
    folded = mail(ED_KEY, subject="Hello you").replace(b"Subject: Hello you", b"subject:  Hello\r\n\tyou ")
    verify(b"".join((folded, b"\r\n\r\n")), ED_KEY)


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{"), max_size=200))
def test_any_content_is_signed_as_it_is_read(text: str) -> None:
    verify(mail(ED_KEY, text=f"x{text}", subject=f"x{text[:50]}"), ED_KEY)


@pytest.mark.parametrize(
    ("body", "relaxed_form"),
    [
        (b"", b""),
        (b"\r\n\r\n", b""),
        (b"a", b"a\r\n"),
        # The example of RFC 6376, 3.4.5.
        (b" C \r\nD \t E\r\n\r\n\r\n", b" C\r\nD E\r\n"),
        (b"a \r\n b\t\r\n", b"a\r\n b\r\n"),
    ],
)
def test_body_is_relaxed_as_the_standard_says(body: bytes, relaxed_form: bytes) -> None:
    assert relaxed_body(body) == relaxed_form


def test_hash_of_a_body_is_that_of_the_standard() -> None:
    # RFC 8463, appendix A.
    body = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
    signer = Signer("football.example.com", "brisbane", pem(ED_KEY))
    signature = signer.sign(b"From: joe@football.example.com\r\n", body, NOW)
    assert b"bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;" in signature


def test_one_signer_signs_many_bodies() -> None:
    signer = Signer("example.test", "s1", pem(ED_KEY))
    for body in (b"one\r\n", b"two\r\n", b"two\r\n", b"", b"one\r\n"):
        head = b"From: a@example.test\r\n"
        verify(signer.sign(head, body, NOW) + head + b"\r\n" + body, ED_KEY)


@pytest.mark.parametrize(
    "key",
    ["", "no key", pem(ec.generate_private_key(ec.SECP256R1())), pem(RSA_KEY)[:-200]],
    ids=["empty", "words", "curve", "broken"],
)
def test_key_that_cannot_sign_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="DKIM"):
        Signer("example.test", "s1", key)
