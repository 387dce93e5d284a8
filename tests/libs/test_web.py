"""The edge that every service has: ids, headers, bodies, refusals."""

import json
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.conftest import IssueToken


@pytest.fixture
def headers(issue_token: IssueToken) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_token()}"}


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    return dict(answer.json())


async def test_both_spellings_of_a_path_are_one_route(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    for path in ("/api/v1/notes", "/api/v1/notes/"):
        answer = await http.post(path, json={"text": "hello"}, headers=headers)
        assert answer.status_code == 201


async def test_every_answer_carries_our_headers(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    for answer in (
        await http.get("/api/v1/notes", headers=headers),
        await http.get("/api/v1/nowhere"),
        await http.get("/api/v1/notes/broken"),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert answer.headers["x-request-duration"].endswith("s")
        assert answer.headers["x-request-id"]


async def test_statements_are_counted(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    answer = await http.post("/api/v1/notes", json={"text": "counted"}, headers=headers)
    assert answer.headers["x-database-queries"] == "2"
    answer = await http.get("/api/v1/notes/slow")
    assert answer.headers["x-database-queries"] == "1"
    assert answer.headers["x-query-time"] > "0.009s"


async def test_a_well_formed_request_id_is_kept_and_another_replaced(http: httpx2.AsyncClient) -> None:
    kept = await http.get("/health/live", headers={"X-Request-Id": "abc-123_DEF"})
    assert kept.headers["x-request-id"] == "abc-123_DEF"
    for bad in ("short", "has space in it", "x" * 65, "line\tbreak-id"):
        replaced = await http.get("/health/live", headers={"X-Request-Id": bad})
        assert replaced.headers["x-request-id"] != bad


async def test_unknown_paths_and_methods_are_problems(http: httpx2.AsyncClient) -> None:
    problem(await http.get("/api/v1/nowhere"), 404, "not_found")
    answer = await http.delete("/api/v1/notes")
    assert "GET" in answer.headers["allow"] or "POST" in answer.headers["allow"]
    problem(answer, 405, "method_not_allowed")


async def test_a_fault_of_ours_says_nothing_about_itself(http: httpx2.AsyncClient) -> None:
    answer = await http.get("/api/v1/notes/broken")
    problem(answer, 500, "server_error")
    assert "hunter2" not in answer.text


BODIES = [
    (b"", 422),
    (b"{", 422),
    (b"not json", 422),
    (b"\xff\xfe", 422),
    (b'{"text": "\xff"}', 422),
    (b"\xef\xbb\xbf{}", 422),
    (b"[]", 422),
    (b"7", 422),
    (b"null", 422),
    (b'{"text": 7}', 422),
    (b'{"text": null}', 422),
    (b'{"text": ""}', 422),
    (b'{"text": "a", "stars": 1e400}', 422),
    (b'{"text": "a", "stars": NaN}', 422),
    (b'{"text": "a", "stars": 99999999999999999999999999}', 422),
    (b'{"text": "a", "stars": "x"}', 422),
    (b'{"text": "a", "unknown": 1}', 422),
    (b'{"text": "a", "is_admin": true}', 422),
    (b'{"text": "a", "\\ud800": 1}', 422),
    (b'{"text": "\\ud800"}', 422),
    (b'{"text": "\\u0000"}', 422),
    (b"[" * 5000, 422),
    (b'{"text": "' + b"a" * 200 + b'"}', 422),
    (b'{"text": "' + b"a" * 20_000 + b'"}', 413),
]


@pytest.mark.promise("Z8")
@pytest.mark.parametrize(("body", "status"), BODIES)
async def test_bad_bodies_are_refused_by_name(
    http: httpx2.AsyncClient, headers: dict[str, str], body: bytes, status: int
) -> None:
    answer = await http.post("/api/v1/notes", content=body, headers={**headers, "Content-Type": "application/json"})
    problem(answer, status, "payload_too_large" if status == 413 else "validation_error")


async def test_a_field_error_names_the_field_and_not_the_value(
    http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await http.post("/api/v1/notes", json={"text": "a", "stars": "s3cret"}, headers=headers)
    errors = problem(answer, 422, "validation_error")["errors"]
    assert [e["field"] for e in errors] == ["stars"]
    assert "s3cret" not in answer.text


async def test_a_body_in_pieces_is_bounded_too(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    async def pieces() -> Any:
        for _ in range(100):
            yield b" " * 1000

    answer = await http.post("/api/v1/notes", content=pieces(), headers={**headers, "Content-Type": "application/json"})
    problem(answer, 413, "payload_too_large")


@pytest.mark.promise("A49")
@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", "", "multipart/form-data"])
async def test_only_json_is_accepted(http: httpx2.AsyncClient, headers: dict[str, str], media: str) -> None:
    answer = await http.post("/api/v1/notes", content=b'{"text": "a"}', headers={**headers, "Content-Type": media})
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        (None, "not_authenticated"),
        ("", "invalid_token_format"),
        ("Basic abc", "invalid_token_format"),
        ("Bearer", "invalid_token_format"),
        ("Bearer ", "invalid_token_format"),
        ("Bearer abc", "invalid_token"),
        ("bearer \x7f", "invalid_token"),
    ],
)
async def test_bad_credentials_are_401(http: httpx2.AsyncClient, authorization: str | None, code: str) -> None:
    sent = {} if authorization is None else {"Authorization": authorization}
    answer = await http.get("/api/v1/notes", headers=sent)
    problem(answer, 401, code)
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.promise("T15")
async def test_two_credentials_are_refused(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    twice = [("Authorization", headers["Authorization"]), ("Authorization", headers["Authorization"])]
    problem(await http.get("/api/v1/notes", headers=twice), 400, "ambiguous_credentials")


@pytest.mark.promise("T14")
async def test_a_token_in_the_query_opens_nothing(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    token = headers["Authorization"].removeprefix("Bearer ")
    problem(await http.get(f"/api/v1/notes?token={token}&access_token={token}"), 401, "not_authenticated")


async def test_pages_follow_each_other_without_gap_or_overlap(
    http: httpx2.AsyncClient, headers: dict[str, str]
) -> None:
    for number in range(7):
        await http.post("/api/v1/notes", json={"text": f"note {number}"}, headers=headers)
    seen: list[str] = []
    address: str | None = "/api/v1/notes?limit=3&word=note"
    while address:
        page = (await http.get(address, headers=headers)).json()
        seen += [note["text"] for note in page["results"]]
        address = page["next"]
    assert seen == [f"note {number}" for number in range(7)]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=x",
        "cursor=x",
        "cursor=W10",
        "cursor=WzFd%00",
        "cursor=WyJ4Il0",
        "cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTldfQ",
        "cursor=Wzk5OTk5OTk5OTk5OTk5OTk5OTk5OTld",
        "word=%00",
        "word=%ff",
        f"word={'x' * 21}",
    ],
)
async def test_bad_queries_are_refused(http: httpx2.AsyncClient, headers: dict[str, str], query: str) -> None:
    answer = await http.get(f"/api/v1/notes?{query}", headers=headers)
    assert answer.status_code in (200, 422) if query == "word=%ff" else answer.status_code == 422


async def test_cross_origin_calls_need_an_exact_origin(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    good = await http.get("/api/v1/notes", headers={**headers, "Origin": "https://app.example.com"})
    assert good.headers["access-control-allow-origin"] == "https://app.example.com"
    for origin in ("https://app.example.com.evil.org", "http://app.example.com", "null"):
        bad = await http.get("/api/v1/notes", headers={**headers, "Origin": origin})
        assert "access-control-allow-origin" not in bad.headers


async def test_internal_routes_are_for_services(http: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    problem(await http.get("/internal/events?after=0"), 401, "not_authenticated")
    problem(await http.get("/internal/events?after=0", headers=headers), 403, "permission_denied")
    as_service = {"X-Service-Authorization": headers["Authorization"]}
    problem(await http.get("/internal/events?after=0", headers=as_service), 401, "wrong_token_type")


async def test_the_description_is_complete(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/api/v1/notes/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    operation = document["paths"]["/api/v1/notes"]["post"]
    assert {"201", "401", "413", "415", "422", "default"} <= operation["responses"].keys()
    assert operation["security"] == [{"access_token": []}]
    assert "HTTPValidationError" not in json.dumps(document)
    assert not any(path.startswith("/internal") for path in document["paths"])


async def test_health_tells_what_is_up(http: httpx2.AsyncClient) -> None:
    assert (await http.get("/health/live")).json() == {"status": "alive"}
    ready = await http.get("/health/ready")
    body = ready.json()
    assert {"status": "ready", "checks": {"database": "up", "redis": "up"}}.items() <= body.items()
    assert body["ms"].keys() == {"database", "redis"}


async def test_foreign_notes_are_not_listed(http: httpx2.AsyncClient, issue_token: IssueToken) -> None:
    mine, other = ({"Authorization": f"Bearer {issue_token(uuid4())}"} for _ in range(2))
    await http.post("/api/v1/notes", json={"text": "private"}, headers=other)
    assert (await http.get("/api/v1/notes", headers=mine)).json()["results"] == []
