"""Calls of the service that carries an account's mails: proved and read as that service has it.

Amazon signs with certificates of its own, which its messages name, and asks a new subscriber to visit an address. Both
are fetched from Amazon and from nobody else.
"""

import httpx2
from cryptography.x509 import load_pem_x509_certificate

from libs.tls import tls_context
from notify_service.domain.channels import ErrorClass, Outcome, Setup
from notify_service.domain.channels.email_account import Config, Secrets, said
from notify_service.domain.channels.email_hooks import HOOKS, certificate_url, confirmation_url, parse
from notify_service.domain.channels.http import Refused, unanswered
from notify_service.domain.channels.inbound import Event, Hook, Inbound

# SNS waits fifteen seconds for an answer.
_TIMEOUT_SECONDS = 5.0
_MOST_BYTES = 64 * 1024
_MOST_KNOWN = 16
_SES = "ses"
_certificates: dict[str, bytes] = {}
"""By address: Amazon gives a new certificate a new one."""


def _verify(hook: Hook, setup: Setup) -> bool:
    config: Config = setup.config
    if config.hooks is None:
        return False
    return HOOKS[config.hooks.service].verify(hook.body, hook.headers, _key(setup), hook.evidence)


def _parse(hook: Hook, setup: Setup) -> list[Event]:
    config: Config = setup.config
    return parse(config.hooks.service, hook.body) if config.hooks else []


async def _evidence(hook: Hook, setup: Setup) -> bytes:
    """The certificate that an SNS message is signed with; nothing for the others."""
    config: Config = setup.config
    if config.hooks is None or config.hooks.service != _SES:
        return b""
    url = certificate_url(hook.body, _key(setup), config.hooks.base_url)
    if url not in _certificates:
        found = await _get(url)
        try:
            load_pem_x509_certificate(found)
        except ValueError:
            # Kept, it would make forgeries of all that is signed with the real one.
            raise Refused(Outcome(ErrorClass.TRANSIENT, "no_certificate")) from None
        if len(_certificates) >= _MOST_KNOWN:
            del _certificates[next(iter(_certificates))]
        _certificates[url] = found
    return _certificates[url]


async def _obey(hook: Hook, setup: Setup) -> None:
    """Confirms a subscription of our topic."""
    config: Config = setup.config
    if config.hooks is None or config.hooks.service != _SES:
        return
    url = confirmation_url(hook.body, config.hooks.base_url)
    if url is not None:
        await _get(url)


async def _get(url: str) -> bytes:
    """Raises Refused."""
    content = bytearray()
    try:
        async with (
            httpx2.AsyncClient(
                timeout=_TIMEOUT_SECONDS, verify=tls_context(), follow_redirects=False, trust_env=False
            ) as http,
            http.stream("GET", url, headers={"Accept-Encoding": "identity"}) as response,
        ):
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > _MOST_BYTES:
                    break
    except httpx2.HTTPError as error:
        raise Refused(unanswered(error)) from error
    if response.status_code != 200:
        raise Refused(Outcome(ErrorClass.TRANSIENT, str(response.status_code)))
    return bytes(content)


def _key(setup: Setup) -> str:
    secrets: Secrets = setup.secrets
    return said(secrets.hook_key) or ""


INBOUND = Inbound(verify=_verify, parse=_parse, evidence=_evidence, obey=_obey)
