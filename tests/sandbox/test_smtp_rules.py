"""The mail simulator with the limits of real providers, and its token endpoint."""

import base64

import aiosmtplib
import pytest

from deploy.sandbox.smtp import SmtpOptions

FORM = {
    "client_id": "parley-mail",
    "client_secret": "mail-secret",
    "grant_type": "refresh_token",
    "refresh_token": "first-refresh-token",
}


async def test_message_after_the_last_of_a_day_is_refused_until_the_day_has_passed(mail, web, letter):
    await web.put("/smtp/rules", json={"per_day": 1})
    await mail.send_message(letter())
    with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
        await mail.send_message(letter())
    assert (refusal.value.code, refusal.value.message[:5]) == (550, "5.4.5")
    await web.post("/smtp/clock", json={"seconds": 86_401})
    await mail.send_message(letter())
    assert (await web.get("/smtp/messages")).json()["total"] == 2


async def test_more_than_a_minute_allows_is_delayed(mail, web, letter):
    await web.put("/smtp/rules", json={"per_minute": 1})
    await mail.send_message(letter())
    await mail.send_message(letter())
    effects = (await web.get("/effects", params={"provider": "smtp"})).json()["results"]
    assert [effect["kind"] for effect in effects] == ["delivered", "delayed", "delivered"]


async def test_one_connection_of_a_mailbox_too_many_is_432(sandbox, mail, client_of, web, letter):
    await web.put("/smtp/rules", json={"connections": 1})
    second = client_of(sandbox)
    await second.connect()
    await second.login("postman", "correct horse")
    with pytest.raises(aiosmtplib.SMTPResponseException) as refusal:
        await second.send_message(letter())
    assert refusal.value.code == 432
    second.close()


@pytest.mark.parametrize("preset", ["gmail", "office365", "none"])
async def test_rules_of_a_provider_have_a_name(start, web, preset):
    named = (await web.put("/smtp/rules", json={"preset": preset})).json()
    async with start(SmtpOptions("postman", "correct horse", rules=preset)) as other:
        assert other.postbox.allowance.rules.model_dump() == named
    assert (await web.put("/smtp/rules", json={"preset": "yahoo"})).status_code == 422


async def test_mailbox_without_passwords_says_so(sandbox, client_of, web):
    await web.put("/smtp/rules", json={"passwords": False})
    client = client_of(sandbox)
    await client.connect()
    with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refusal:
        await client.login("postman", "correct horse")
    assert refusal.value.message.startswith("5.7.30")


async def test_token_lets_in_and_no_other(sandbox, client_of, web):
    token = (await web.post("/smtp/oauth/token", data=FORM)).json()["access_token"]
    for given, code in (("wrong", 535), (token, 235)):
        client = client_of(sandbox)
        await client.connect()
        await client.ehlo()
        proof = base64.b64encode(f"user=postman\x01auth=Bearer {given}\x01\x01".encode())
        answer = await client.execute_command(b"AUTH", b"XOAUTH2", proof)
        if code == 535:
            assert answer.code == 334
            answer = await client.execute_command(b"")
        assert answer.code == code
        client.close()
    await web.delete("/smtp/oauth/tokens")
    client = client_of(sandbox)
    await client.connect()
    await client.ehlo()
    assert (await client.execute_command(b"AUTH", b"XOAUTH2", proof)).code == 334
    client.close()


@pytest.mark.parametrize(
    ("changed", "status", "error"),
    [
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"refresh_token": "old"}, 400, "invalid_grant"),
    ],
)
async def test_token_endpoint_refuses_as_the_standard_says(web, changed, status, error):
    answer = await web.post("/smtp/oauth/token", data={**FORM, **changed})
    assert (answer.status_code, answer.json()["error"]) == (status, error)


async def test_refresh_token_that_was_exchanged_ends(web):
    assert (await web.put("/smtp/oauth", json={"rotate": True})).json()["rotate"] is True
    fresh = (await web.post("/smtp/oauth/token", data=FORM)).json()["refresh_token"]
    assert (await web.post("/smtp/oauth/token", data=FORM)).json()["error"] == "invalid_grant"
    assert (await web.post("/smtp/oauth/token", data={**FORM, "refresh_token": fresh})).status_code == 200
    assert (await web.get("/smtp/oauth")).json()["asked"] == 3


async def test_mail_comes_back_on_order(mail, web, letter):
    await mail.send_message(letter("ada@example.test"), sender="bounces@example.test")
    [sent] = (await web.get("/smtp/messages")).json()["results"]
    for path, kind, order in (
        ("bounce", "delivery-status", {"status": "5.2.2", "diagnostic": "552 full"}),
        ("complaint", "feedback-report", {"feedback": "abuse"}),
    ):
        report = (await web.post(f"/smtp/messages/{sent['id']}/{path}", json=order)).json()
        assert (report["from"], report["to"]) == ("", ["bounces@example.test"])
        raw = (await web.get(f"/smtp/messages/{report['id']}/raw")).text
        assert f'report-type="{kind}"' in raw
        assert "ada@example.test" in raw
    assert (await web.post(f"/smtp/messages/{sent['id']}/bounce", json={"status": "x"})).status_code == 422
    assert (await web.post("/smtp/messages/none/bounce")).status_code == 404
