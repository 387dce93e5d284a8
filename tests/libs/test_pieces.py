"""Ids, field encryption, log redaction, settings and the families' error shapes."""

import json
import subprocess
import sys
import uuid
from typing import Any

import asyncpg
import pytest
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from libs.crypto import CannotDecrypt, FieldCipher
from libs.db import is_unavailable
from libs.errors import FieldError, Invalid, MalformedBody, NotFound, RateLimited, TokenExpired, Unauthenticated
from libs.families import Family, family_of, render
from libs.ids import uuid7
from libs.logging import redact
from libs.settings import ServiceSettings

KEY_A = "a:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
KEY_B = "b:HxwdGhsYGRYXFBUSExAREA8ODQwLCgkIBwYFBAMCAQA"


def test_ids_grow_and_are_version_7() -> None:
    ids = [uuid7() for _ in range(5000)]
    assert ids == sorted(set(ids))
    assert {(each.version, each.variant) for each in ids} == {(7, uuid.RFC_4122)}


@pytest.mark.promise("A33")
def test_a_sealed_field_opens_in_its_place_only() -> None:
    cipher = FieldCipher(KEY_A)
    sealed = cipher.encrypt("s3cret", "user:1:totp")
    assert "s3cret" not in sealed
    assert cipher.decrypt(sealed, "user:1:totp") == "s3cret"
    changed = sealed[:-2] + ("QQ" if sealed.endswith("AA") else "AA")
    for broken, context in ((sealed, "user:2:totp"), (changed, "user:1:totp"), ("a.%%", "x"), ("", "x")):
        with pytest.raises(CannotDecrypt):
            cipher.decrypt(broken, context)


@pytest.mark.promise("A33")
def test_field_keys_rotate() -> None:
    old = FieldCipher(KEY_A).encrypt("text", "c")
    both = FieldCipher(f"{KEY_B}, {KEY_A}")
    assert both.decrypt(old, "c") == "text"
    assert both.encrypt("text", "c").startswith("b.")
    with pytest.raises(CannotDecrypt):
        FieldCipher(KEY_B).decrypt(old, "c")


@pytest.mark.parametrize("keys", ["", "a", "a:", "a:AAAA", ":AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"])
def test_weak_field_keys_are_refused(keys: str) -> None:
    with pytest.raises(ValueError, match=r"field key|padding|base64"):
        FieldCipher(keys)


def test_logs_hold_no_secrets() -> None:
    token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln"
    event = redact(
        None,
        "info",
        {
            "event": "x",
            "password": "hunter2",
            "refresh_token": "abc",
            "note": f"Bearer {token} came",
            "url": "/ws?token=abc&x=1",
            "database": "postgresql://app:hunter2@host/db",
            "user_id": "7",
        },
    )
    text = json.dumps(event)
    assert "hunter2" not in text
    assert "abc" not in text
    assert token not in text
    assert event["user_id"] == "7"


def test_logs_are_lines_of_json_whatever_is_in_them() -> None:
    script = """
import structlog
from libs import logging
logging.configure("test", level="info", form="json")
log = structlog.get_logger()
for value in ("plain", "two lines", chr(0xD800), 1 << 80, b"raw", {"a": ("b", {1: None})}, ValueError("no")):
    log.info("told", value=value)
log.info("told", dsn="postgresql://app:hunter2@host/db", api_key="pat_0123456789")
"""
    lines = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    told = [json.loads(line) for line in lines]
    assert len(told) == 8
    assert all(each["service"] == "test" and each["event"] == "told" and each["timestamp"] for each in told)
    assert [each["value"] for each in told[:4]] == ["plain", "two lines", "\ud800", 1 << 80]
    assert (told[7]["dsn"], told[7]["api_key"]) == ("postgresql://[hidden]@host/db", "[hidden]")


def test_default_secrets_are_refused_outside_development() -> None:
    with pytest.raises(ValidationError, match="default value"):
        ServiceSettings(environment="production")
    good = ServiceSettings(environment="production", database_url="postgresql://a:b@c/d", field_keys=KEY_B)
    assert "b@c" not in repr(good)


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_CORS_ORIGINS", "https://a.example, https://b.example,")
    assert ServiceSettings().cors_origins == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("path", "family"),
    [
        ("/api/v1/users/me/", Family.CANONICAL),
        ("/anything", Family.CANONICAL),
        ("/api/auth/login/", Family.SENDER),
        ("/api/communications/email/", Family.SENDER),
        ("/api/auth/login", Family.HUB),
        ("/api/other", Family.HUB),
        ("/api/users/login/", Family.ROOMS),
        ("/api/chat/conversations/", Family.ROOMS),
    ],
)
def test_the_prefix_decides_the_family(path: str, family: Family) -> None:
    assert family_of(path) is family


def shape(family: Family, error: Any) -> tuple[int, dict[str, Any]]:
    rendered = render(family, error, "id-1")
    return rendered.status, json.loads(rendered.body)


def test_field_errors_in_four_shapes() -> None:
    error = Invalid(errors=[FieldError("to", "Enter a valid e-mail address.")])
    text = "Enter a valid e-mail address."
    status, body = shape(Family.CANONICAL, error)
    assert (status, body["errors"]) == (422, [{"field": "to", "message": text}])
    assert shape(Family.SENDER, error) == (
        400,
        {"success": False, "error": {"to": [text]}, "message": text, "detail": text, "code": "invalid"},
    )
    status, body = shape(Family.HUB, error)
    assert (status, body["error"]["details"]) == (400, [{"field": "to", "message": text}])
    assert shape(Family.ROOMS, error) == (400, {"to": [text]})


def test_token_errors_in_the_words_of_each_family() -> None:
    assert shape(Family.CANONICAL, TokenExpired())[1]["code"] == "token_expired"
    assert shape(Family.SENDER, TokenExpired())[1]["code"] == "token_not_valid"
    assert shape(Family.HUB, TokenExpired())[1]["error"]["code"] == "TOKEN_EXPIRED"
    assert shape(Family.ROOMS, Unauthenticated())[1] == {
        "detail": "Authentication credentials were not provided.",
        "code": "not_authenticated",
    }
    assert render(Family.HUB, Unauthenticated(), "").headers["WWW-Authenticate"] == "Bearer"


def test_limits_and_bad_json_in_the_words_of_each_family() -> None:
    status, body = shape(Family.HUB, RateLimited(7))
    assert (status, body["error"]["retryable"], body["error"]["details"]["retryAfter"]) == (429, True, 7)
    known = RateLimited(7, allowed=(20, 60))
    assert shape(Family.HUB, known)[1]["error"]["details"] == {"limit": 20, "windowMs": 60_000, "retryAfter": 7}
    assert shape(Family.CANONICAL, known)[1]["details"] == {"limit": 20, "window_seconds": 60, "retry_after": 7}
    assert shape(Family.SENDER, RateLimited(7))[1]["code"] == "throttled"
    assert shape(Family.SENDER, MalformedBody())[1]["error"] == "JSON parse error"
    assert shape(Family.HUB, MalformedBody())[1]["message"] == "Request body is not valid JSON"
    assert shape(Family.ROOMS, NotFound())[1] == {"detail": "Not found.", "code": "not_found"}


@pytest.mark.parametrize(
    ("sqlstate", "unavailable"),
    [("40P01", True), ("53300", True), ("57P03", True), ("08006", True), ("23505", False), ("28P01", False)],
)
def test_a_busy_database_is_unavailable_and_a_broken_rule_is_not(sqlstate: str, unavailable: bool) -> None:
    cause = asyncpg.PostgresError.new({"C": sqlstate})
    assert is_unavailable(cause) is unavailable
    assert is_unavailable(DBAPIError("SELECT 1", None, cause)) is unavailable
