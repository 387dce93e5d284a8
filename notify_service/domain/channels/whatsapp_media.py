"""Files that go to WhatsApp before the message that shows them, and files that people have sent.

Facts: Meta's pages on media (of 2025-11), looked up in November 2026. An uploaded file is kept for 30 days and may be
shown by as many messages as one likes. A file that somebody sent has an id; its address is asked for and is good for
five minutes, to whoever has the token.
"""

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from notify_service.domain.channels import ErrorClass, Outcome, Setup
from notify_service.domain.channels.http import Answer, Refused
from notify_service.domain.channels.whatsapp import Config
from notify_service.domain.channels.whatsapp_errors import parsed, refusal
from notify_service.domain.channels.whatsapp_graph import Graph

_ID = re.compile(r"[0-9]{1,32}")
_HEX = re.compile(r"[0-9a-f]{64}")
# Where the API lets files be fetched from. The token goes nowhere else, whatever an answer says.
_HOSTS = (".fbsbx.com", ".facebook.com", ".whatsapp.net")


@dataclass(frozen=True, slots=True)
class File:
    content: bytes = field(repr=False)
    mime: str
    sha256: str
    """In hexadecimal digits."""


async def upload(setup: Setup, content: bytes, *, mime: str, filename: str) -> str:
    """The address that stands for the file in the media of a content: of the API, so nobody else can fetch it. Raises
    Refused."""
    config: Config = setup.config
    async with Graph(setup) as graph:
        request = graph.http.build_request(
            "POST",
            f"{config.number_url}/media",
            data={"messaging_product": "whatsapp", "type": mime},
            files={"file": (filename, content, mime)},
        )
        found = (await graph.ask(request)).get("id")
    if not isinstance(found, str) or not _ID.fullmatch(found):
        raise Refused(Outcome(ErrorClass.TRANSIENT, "bad_answer"))
    return f"{config.graph_url}/{found}"


async def download(setup: Setup, media_id: str, *, most_bytes: int, sha256: str | None = None) -> File:
    """What somebody has sent. `sha256`: in hexadecimal digits, as it was announced.

    Raises Refused, with `too_large` for more than `most_bytes` and `other_content` for what is not the announced file.
    """
    config: Config = setup.config
    if not _ID.fullmatch(media_id):
        raise Refused(Outcome(ErrorClass.PERMANENT, "bad_id"))
    async with Graph(setup) as graph:
        params = {"phone_number_id": config.phone_number_id}
        about = await graph.get(f"{config.graph_url}/{media_id}", params)
        url, mime = about.get("url"), about.get("mime_type")
        if not isinstance(url, str) or not isinstance(mime, str) or not _ours(url, config.base_url):
            raise Refused(Outcome(ErrorClass.TRANSIENT, "bad_answer"))
        size = str(about.get("file_size", ""))
        if size.isascii() and size.isdigit() and (len(size) > 12 or int(size) > most_bytes):
            raise Refused(Outcome(ErrorClass.PERMANENT, "too_large"))
        status, found, content = await graph.fetch(graph.http.build_request("GET", url), most_bytes)
    if status != 200:
        raise Refused(refusal(Answer(status, found, content), parsed(content)))
    digest = hashlib.sha256(content).hexdigest()
    if any(announced not in (None, digest) for announced in (digest_of(about.get("sha256")), sha256)):
        raise Refused(Outcome(ErrorClass.TRANSIENT, "other_content"))
    return File(content, mime, digest)


async def download_item(setup: Setup, item: Mapping[str, Any], most_bytes: int) -> bytes:
    """The content alone, if it is what the message has announced."""
    return (await download(setup, str(item.get("id")), most_bytes=most_bytes, sha256=item.get("sha256"))).content


def digest_of(given: object) -> str | None:
    """A SHA-256 in hexadecimal digits, of what Meta writes in those or, in webhooks, in base64."""
    if not isinstance(given, str):
        return None
    if _HEX.fullmatch(given):
        return given
    try:
        decoded = base64.b64decode(given, validate=True)
    except ValueError:
        return None
    return decoded.hex() if len(decoded) == 32 else None


def _ours(url: str, api: str) -> bool:
    there, here = urlsplit(url), urlsplit(api)
    if (there.scheme, there.netloc) == (here.scheme, here.netloc):
        return True
    return there.scheme == "https" and (there.hostname or "").endswith(_HOSTS)
