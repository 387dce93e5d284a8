"""The web mailbox and its JSON: filtered, bounded, and harmless whatever the mail says."""

import re
from datetime import UTC, datetime

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.sandbox.mailbox import Envelope, Mailbox, read

ATTACK = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


def mail_with(raw: bytes, *, id: str = "1", to: str = "ada@example.test"):  # noqa: A002
    envelope = Envelope(sender="parley@example.test", recipients=(to,), login="postman", tls="TLSv1.3")
    return read(raw, envelope, id=id, received_at=datetime(2026, 11, 20, 14, 2, 11, tzinfo=UTC))


async def test_markup_in_a_message_stays_text(mail, web, letter):
    message = letter('"a<b>"@example.test', subject=ATTACK, text=f"{ATTACK} https://example.test/?a=1&b=<2>")
    message["X-Attack"] = ATTACK
    message.add_attachment(b"", maintype="text", subtype="csv", filename="<b>.csv")
    await mail.send_message(message, recipients=["victim@example.test"])

    front = await web.get("/", params={"to": "victim"})
    [path] = re.findall(r'href="(/messages/[^"]+)"', front.text)
    page = await web.get(path)
    for text in (front.text, page.text, (await web.get("/", params={"to": ATTACK})).text):
        assert "<script" not in text
        assert "<img" not in text
        assert "&lt;script&gt;" in text
    assert "<b>" not in page.text
    assert 'href="https://example.test/?a=1&amp;b="' in page.text


async def test_html_is_shown_only_inside_a_frame_without_scripts(mail, web, letter):
    await mail.send_message(letter("frame@example.test", html=f"<p>Hello</p>{ATTACK}"))
    [summary] = (await web.get("/smtp/messages", params={"to": "frame@"})).json()["results"]
    page = await web.get(f"/messages/{summary['id']}")
    part = await web.get(f"/messages/{summary['id']}/html")
    [frame] = re.findall(r"<iframe[^>]*>", page.text)
    assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in frame
    assert "<script" not in page.text
    assert "<p>Hello</p>" in part.text
    policy = part.headers["content-security-policy"]
    assert "sandbox allow-popups" in policy
    assert "default-src 'none'" in policy
    assert "allow-scripts" not in policy + frame
    assert "allow-same-origin" not in policy + frame


async def test_every_answer_carries_the_security_headers(web):
    for path in ("/", "/style.css", "/smtp/messages", "/smtp/messages/none", "/nowhere", "/health/live"):
        headers = (await web.get(path)).headers
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
        assert "script-src" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


async def test_the_list_shows_only_messages_to_the_recipient(mail, web, letter):
    for name in ("ada", "bob", "Ada"):
        await mail.send_message(letter(f"{name}@example.test", subject=f"for {name}"))
    page = (await web.get("/", params={"to": "ADA@example"})).text
    assert "for ada" in page
    assert "for Ada" in page
    assert "for bob" not in page
    assert page.index("for Ada") < page.index("for ada")
    found = (await web.get("/smtp/messages", params={"to": "ada@", "limit": 1})).json()
    assert ([one["subject"] for one in found["results"]], found["total"]) == (["for Ada"], 2)
    assert "No message for" in (await web.get("/", params={"to": "carol"})).text


async def test_an_empty_mailbox_says_so(web):
    assert "No mail yet" in (await web.get("/")).text


async def test_the_mailbox_can_be_emptied_by_api_and_by_button(mail, web, letter):
    await mail.send_message(letter())
    assert (await web.delete("/smtp/messages")).status_code == 204
    assert (await web.get("/smtp/messages")).json() == {"results": [], "total": 0}
    await mail.send_message(letter())
    pressed = await web.post("/clear", headers={"origin": str(web.base_url).rstrip("/")})
    assert (pressed.status_code, pressed.headers["location"]) == (303, "/")
    assert (await web.get("/smtp/messages")).json()["total"] == 0
    assert len((await web.get("/effects")).json()["results"]) == 2
    assert (await web.delete("/effects")).status_code == 204
    assert (await web.get("/effects")).json() == {"results": []}


@pytest.mark.parametrize("origin", ["https://evil.test", "null", "http://127.0.0.1:1"])
async def test_orders_from_foreign_pages_are_refused(mail, web, letter, origin):
    await mail.send_message(letter())
    for method, path in (("DELETE", "/smtp/messages"), ("POST", "/clear"), ("POST", "/smtp/faults")):
        answer = await web.request(method, path, headers={"origin": origin}, content=b'{"drop": true}')
        assert answer.status_code == 403
    assert (await web.get("/smtp/messages")).json()["total"] == 1


@pytest.mark.parametrize("path", ["/smtp/messages/none", "/smtp/messages/none/raw", "/messages/none", "/nowhere"])
async def test_what_is_not_there_is_404(web, path):
    answer = await web.get(path)
    assert (answer.status_code, list(answer.json())) == (404, ["detail"])


async def test_a_message_without_html_has_no_frame(mail, web, letter):
    await mail.send_message(letter(subject=""))
    [summary] = (await web.get("/smtp/messages")).json()["results"]
    assert "<iframe" not in (await web.get(f"/messages/{summary['id']}")).text
    assert (await web.get(f"/messages/{summary['id']}/html")).status_code == 404


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001", f"to={'a' * 321}"])
async def test_a_bad_query_is_422(web, query):
    assert (await web.get(f"/smtp/messages?{query}")).status_code == 422
    assert (await web.get("/effects?after=-1")).status_code == 422


async def test_the_certificate_served_is_the_one_in_use(web, sandbox):
    assert (await web.get("/smtp/certificate.pem")).text == sandbox.certificate.pem


async def test_the_shared_style_is_served(web):
    style = await web.get("/style.css")
    assert style.headers["content-type"].startswith("text/css")
    assert "prefers-color-scheme" in style.text


async def test_two_sandboxes_do_not_share_anything(sandbox, mail, letter, start):
    await mail.send_message(letter())
    other = start(sandbox._options.smtp)
    async with other, httpx2.AsyncClient(trust_env=False) as client:
        found = await client.get(f"http://127.0.0.1:{other.http_port}/smtp/messages")
        assert found.json()["total"] == 0


def test_the_mailbox_keeps_the_newest_and_stays_within_its_bytes():
    mailbox = Mailbox(kept=3, kept_bytes=1_000)
    for number in range(5):
        mailbox.add(mail_with(b"x" * 10, id=str(number)))
    assert [mail.id for mail in mailbox.newest_first()] == ["4", "3", "2"]
    assert mailbox.get("1") is None
    mailbox.add(mail_with(b"x" * 2_000, id="large"))
    assert [mail.id for mail in mailbox.newest_first()] == ["large"]


@pytest.mark.parametrize(
    ("header", "shown"),
    [
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("Grüße".encode(), "Grüße"),
        (b"=?no-such-charset?q?x?=", "=?no-such-charset?q?x?="),
        (b"=?utf-8?b?A?=", "=?utf-8?b?A?="),
        (b"two\r\n lines", "two lines"),
        (b"\xff", "\ufffd"),
    ],
)
def test_a_subject_is_shown_in_the_readers_letters(header, shown):
    assert mail_with(b"Subject: " + header + b"\r\n\r\n").subject == shown


@pytest.mark.parametrize("charset", ["no-such-charset", "utf-16", '"\x00"', "idna"])
def test_a_body_in_a_doubtful_charset_is_still_shown(charset):
    raw = f'Content-Type: text/plain; charset="{charset}"\r\n\r\nhello'.encode()
    assert mail_with(raw).text is not None


@given(
    st.binary(max_size=400)
    | st.binary(max_size=60).map(lambda part: b"Subject: =?" + part + b"?=\r\nContent-Type: " + part + b"\r\n\r\nx")
)
def test_any_octets_can_be_read_and_shown(raw):
    document = mail_with(raw).as_json()
    str(document).encode()
