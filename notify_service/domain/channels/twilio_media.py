"""Files that people send by MMS: fetched from Twilio with the account's credentials.

Facts: twilio.com/docs/messaging/api/media-resource, as of November 2026. A file's address is of the API, which answers
with the place where the file lies. That takes no credentials, and is good for some hours.
"""

import asyncio
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from libs.tls import tls_context
from notify_service.domain.channels import ErrorClass, Outcome, Setup
from notify_service.domain.channels.http import Answer, Refused, by_status, unanswered
from notify_service.domain.channels.twilio_account import Config, authorization

_PATH = re.compile(r"/2010-04-01/Accounts/(AC[0-9a-fA-F]{32})/Messages/[SM]M[0-9a-fA-F]{32}/Media/ME[0-9a-fA-F]{32}")
# Where files lie. Nobody else is visited, whatever a call or an answer says.
_HOSTS = ("media.twiliocdn.com", "mms.twiliocdn.com", "s3-external-1.amazonaws.com")


async def download_item(setup: Setup, item: Mapping[str, Any], most_bytes: int) -> bytes:
    """`item` has the `url` that Twilio has told. Raises Refused, with `too_large` for more than `most_bytes`."""
    config: Config = setup.config
    api = str(config.base_url).rstrip("/")
    url = str(item.get("url"))
    path = _PATH.fullmatch(url.removeprefix(api))
    if path is None or path[1] != config.account_sid or not url.startswith(api):
        raise Refused(Outcome(ErrorClass.PERMANENT, "bad_address"))
    try:
        async with (
            asyncio.timeout(config.timeout * 2),
            httpx2.AsyncClient(verify=tls_context(), timeout=config.timeout, trust_env=False) as http,
        ):
            answer = await _fetch(http, url, most_bytes, {"Authorization": authorization(config, setup.secrets)})
            if answer.status in (301, 302, 303, 307, 308):
                place = urljoin(url, answer.headers.get("location", ""))
                answer = await _fetch(http, _allowed(place, api), most_bytes, {})
    except httpx2.HTTPError as error:
        raise Refused(unanswered(error)) from None
    except TimeoutError:
        raise Refused(Outcome(ErrorClass.TRANSIENT, "no_answer")) from None
    if answer.status in (404, 410):
        raise Refused(Outcome(ErrorClass.PERMANENT, "gone"))
    if answer.status != 200:
        raise Refused(by_status(answer))
    return answer.content


def _allowed(place: str, api: str) -> str:
    there, here = urlsplit(place), urlsplit(api)
    if (there.scheme, there.netloc) != (here.scheme, here.netloc) and (
        there.scheme != "https" or there.netloc not in _HOSTS
    ):
        raise Refused(Outcome(ErrorClass.TRANSIENT, "bad_answer"))
    return place


async def _fetch(http: httpx2.AsyncClient, url: str, most_bytes: int, headers: Mapping[str, str]) -> Answer:
    content = bytearray()
    # Packed bodies could unpack to any size.
    given = {"Accept-Encoding": "identity", **headers}
    async with http.stream("GET", url, headers=given, follow_redirects=False) as response:
        async for chunk in response.aiter_raw():
            content += chunk
            if len(content) > most_bytes:
                raise Refused(Outcome(ErrorClass.PERMANENT, "too_large"))
    return Answer(response.status_code, response.headers, bytes(content))
