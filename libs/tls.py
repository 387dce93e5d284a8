"""Whom we trust when we call over TLS."""

import functools
import ssl

import httpx2


@functools.cache
def tls_context() -> ssl.SSLContext:
    """One for all clients of a process: reading the certificates of all authorities holds the loop for some 30 ms."""
    return httpx2.create_ssl_context(trust_env=False)
