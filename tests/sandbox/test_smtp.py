"""The mail simulator over real sockets: what it demands, what it takes, and how it fails on order."""

import asyncio
import base64
import ssl

import aiosmtplib
import pytest

from deploy.sandbox.smtp import SmtpOptions

CREDENTIALS = ("postman", "correct horse")


async def test_a_message_arrives_whole_after_starttls_and_login(sandbox, mail, web, letter):
    message = letter("ada@example.test", subject="Grüße", text="Zeile eins\n.\nZeile drei", html="<p>Hi</p>")
    message.add_attachment(b"\x00\x01", maintype="image", subtype="png", filename="dot.png")
    await mail.send_message(message, sender="bounces@example.test")

    [summary] = (await web.get("/smtp/messages", params={"to": "ada@example.test"})).json()["results"]
    found = (await web.get(f"/smtp/messages/{summary['id']}")).json()
    assert (found["from"], found["to"]) == ("bounces@example.test", ["ada@example.test"])
    assert (found["subject"], found["login"]) == ("Grüße", "postman")
    assert found["tls"].startswith("TLSv1.")
    assert found["text"].splitlines() == ["Zeile eins", ".", "Zeile drei"]
    assert found["html"].strip() == "<p>Hi</p>"
    assert found["attachments"] == [{"filename": "dot.png", "content_type": "image/png", "size": 2}]
    assert {"name": "To", "value": "ada@example.test"} in found["headers"]
    raw = (await web.get(f"/smtp/messages/{summary['id']}/raw")).content
    assert raw.startswith(b"From: parley@example.test\r\n")
    assert len(raw) == found["size"]


@pytest.mark.parametrize("mechanism", ["plain", "login"])
async def test_both_mechanisms_let_the_right_password_in(sandbox, client_of, mechanism):
    client = client_of(sandbox)
    await client.connect()
    await client.ehlo()
    assert (await getattr(client, f"auth_{mechanism}")(*CREDENTIALS)).code == 235
    await client.quit()


@pytest.mark.parametrize("credentials", [("postman", "wrong"), ("nobody", "correct horse"), ("postman", "")])
async def test_wrong_credentials_are_refused(sandbox, client_of, credentials):
    client = client_of(sandbox)
    await client.connect()
    await client.ehlo()
    with pytest.raises(aiosmtplib.SMTPAuthenticationError) as refusal:
        await client.auth_plain(*credentials)
    assert refusal.value.code == 535
    client.close()


async def test_mail_without_login_is_refused(sandbox, client_of, letter):
    client = client_of(sandbox)
    await client.connect()
    with pytest.raises(aiosmtplib.SMTPSenderRefused) as refusal:
        await client.send_message(letter())
    assert refusal.value.code == 530
    client.close()


async def test_login_and_mail_before_starttls_are_refused(sandbox):
    client = aiosmtplib.SMTP(hostname="127.0.0.1", port=sandbox.smtp_port, start_tls=False, timeout=10)
    await client.connect()
    await client.ehlo()
    assert "auth" not in client.esmtp_extensions
    secret = base64.b64encode(b"\0postman\0correct horse")
    assert (await client.execute_command(b"AUTH", b"PLAIN", secret)).code == 530
    assert (await client.execute_command(b"MAIL", b"FROM:<a@example.test>")).code == 530
    client.close()


async def test_a_client_that_trusts_other_certificates_refuses_the_server(sandbox, start):
    async with start(SmtpOptions(*CREDENTIALS)) as other:
        context = ssl.create_default_context(cadata=other.certificate.pem)
    client = aiosmtplib.SMTP(
        hostname="127.0.0.1", port=sandbox.smtp_port, start_tls=True, tls_context=context, timeout=10
    )
    with pytest.raises(ssl.SSLCertVerificationError):
        await client.connect()


async def test_what_the_server_can_is_announced(sandbox, mail):
    await mail.ehlo()
    assert mail.esmtp_extensions["size"] == str(10 * 1024 * 1024)
    assert {"pipelining", "8bitmime", "smtputf8", "auth"} <= set(mail.esmtp_extensions)
    assert "starttls" not in mail.esmtp_extensions


async def test_pipelined_commands_are_answered_in_order(sandbox, web):
    reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.smtp_port)
    writer.write(b"EHLO pipes\r\nSTARTTLS\r\n")
    while not (await reader.readline()).startswith(b"220 Ready"):
        pass
    await writer.start_tls(ssl.create_default_context(cadata=sandbox.certificate.pem), server_hostname="localhost")
    login = base64.b64encode(b"\0postman\0correct horse")
    mail = b"MAIL FROM:<a@example.test>\r\nRCPT TO:<pipe@example.test>\r\nDATA\r\n"
    writer.write(b"HELO pipes\r\nEHLO pipes\r\nAUTH PLAIN " + login + b"\r\n" + mail)
    writer.write(b"Subject: piped\r\n\r\nbody\r\n.\r\nQUIT\r\n")
    replies = (await reader.read()).splitlines()
    assert [reply[:3] for reply in replies if reply[3:4] == b" "] == [
        *(b"250", b"250", b"235", b"250", b"250", b"354", b"250", b"221")
    ]
    writer.close()
    found = (await web.get("/smtp/messages", params={"to": "pipe@"})).json()
    assert found["results"][0]["subject"] == "piped"


async def test_a_message_larger_than_announced_is_refused(start, client_of, letter):
    async with start(SmtpOptions(*CREDENTIALS, max_message_bytes=2_000)) as small:
        client = client_of(small)
        await client.connect()
        await client.login(*CREDENTIALS)
        with pytest.raises(aiosmtplib.SMTPResponseException) as refusal:
            await client.send_message(letter(text="x" * 70 + "\n" + "long line\n" * 400))
        assert refusal.value.code == 552
        await client.send_message(letter(text="short"))
        assert len(small.postbox.mailbox.newest_first()) == 1
        client.close()


async def test_a_scripted_refusal_strikes_its_recipient_as_often_as_told(mail, web, letter):
    script = {"match": "Busy@Example.test", "reply": "451 4.3.0 try later", "times": 2}
    assert (await web.post("/smtp/faults", json=script)).status_code == 201
    for _ in range(2):
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused) as refusal:
            await mail.send_message(letter("busy@example.test"))
        assert (refusal.value.recipients[0].code, refusal.value.recipients[0].message) == (
            451,
            "4.3.0 try later",
        )
        await mail.send_message(letter("calm@example.test"))
    assert (await web.get("/smtp/faults")).json() == {"results": []}
    await mail.send_message(letter("busy@example.test"))

    assert (await web.get("/smtp/messages", params={"to": "busy@"})).json()["total"] == 1
    effects = (await web.get("/effects", params={"provider": "smtp"})).json()["results"]
    assert [effect["kind"] for effect in effects] == [
        "refused",
        "delivered",
        "refused",
        "delivered",
        "delivered",
    ]
    assert [effect["number"] for effect in effects] == [1, 2, 3, 4, 5]


async def test_a_refusal_after_data_leaves_nothing_behind(mail, web, letter):
    await web.post("/smtp/faults", json={"match": "", "reply": "554 5.7.1 spam", "after_data": True})
    with pytest.raises(aiosmtplib.SMTPDataError) as refusal:
        await mail.send_message(letter())
    assert refusal.value.code == 554
    assert (await web.get("/smtp/messages")).json()["total"] == 0


async def test_a_dropped_connection_may_have_delivered_all_the_same(sandbox, mail, web, letter):
    await web.post("/smtp/faults", json={"drop": True, "after_data": True, "keep": True, "delay_ms": 1})
    with pytest.raises(aiosmtplib.SMTPServerDisconnected):
        await mail.send_message(letter())
    assert (await web.get("/smtp/messages")).json()["total"] == 1


async def test_a_delay_alone_only_delays(mail, web, letter):
    await web.post("/smtp/faults", json={"delay_ms": 5, "after_data": True})
    await web.post("/smtp/faults", json={"delay_ms": 5})
    await mail.send_message(letter())
    assert (await web.get("/smtp/messages")).json()["total"] == 1
    assert (await web.get("/smtp/faults")).json() == {"results": []}


async def test_a_421_closes_the_connection(mail, web, letter):
    await web.post("/smtp/faults", json={"reply": "421 4.3.2 going down"})
    with pytest.raises(aiosmtplib.SMTPException):
        await mail.send_message(letter())
    with pytest.raises(aiosmtplib.SMTPException):
        await mail.noop()


async def test_faults_can_be_withdrawn(mail, web, letter):
    await web.post("/smtp/faults", json={"reply": "451 4.3.0 no", "times": 9})
    assert (await web.delete("/smtp/faults")).status_code == 204
    await mail.send_message(letter())


@pytest.mark.parametrize(
    "script",
    [
        b"{}",
        b"no json",
        b"\xff",
        b"[]",
        b'{"reply": "250 OK"}',
        b'{"reply": "451 a\\r\\n250 OK"}',
        b'{"reply": "451 4.3.0 x\\n"}',
        b'{"reply": "451 x", "times": 0}',
        b'{"reply": "451 x", "unknown": 1}',
        b'{"drop": true, "keep": true}',
    ],
)
async def test_a_script_that_makes_no_sense_is_422(web, script):
    answer = await web.post("/smtp/faults", content=script)
    assert answer.status_code == 422
    assert answer.json()["errors"]
    assert (await web.get("/smtp/faults")).json() == {"results": []}


async def test_one_message_too_many_in_a_connection_is_421(start, client_of, letter):
    async with start(SmtpOptions(*CREDENTIALS, max_messages_per_connection=2)) as limited:
        client = client_of(limited)
        await client.connect()
        await client.login(*CREDENTIALS)
        await client.send_message(letter())
        await client.send_message(letter())
        with pytest.raises(aiosmtplib.SMTPResponseException) as refusal:
            await client.send_message(letter())
        assert refusal.value.code == 421
        client.close()


async def test_one_connection_too_many_is_421(start, client_of):
    async with start(SmtpOptions(*CREDENTIALS, max_connections=1)) as limited:
        first = client_of(limited)
        await first.connect()
        with pytest.raises(aiosmtplib.SMTPConnectResponseError) as refusal:
            await client_of(limited).connect()
        assert refusal.value.code == 421
        await first.quit()


async def test_stopping_says_so_to_clients_that_are_still_there(start, client_of):
    async with start(SmtpOptions(*CREDENTIALS)) as sandbox:
        reader, writer = await asyncio.open_connection("127.0.0.1", sandbox.smtp_port)
        assert (await reader.readline()).startswith(b"220 ")
    assert (await reader.readline()).startswith(b"421 ")
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
