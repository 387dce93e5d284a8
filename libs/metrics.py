"""Prometheus metrics, served on a port of their own, so that they can never be reached through the gateway."""

import errno
import threading
import time

from prometheus_client import Counter, Gauge, Histogram, start_http_server

REQUESTS = Counter("parley_http_requests_total", "Answered requests.", ["service", "method", "route", "status"])
SECONDS = Histogram(
    "parley_http_request_seconds",
    "Time from a request's head to the end of its answer.",
    ["service", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
QUERIES = Counter("parley_database_queries_total", "Statements sent to PostgreSQL.", ["service"])
SLOW_QUERIES = Counter("parley_database_slow_queries_total", "Statements over the slow-query limit.", ["service"])
EVENTS = Counter("parley_events_total", "Events handled by a consumer.", ["consumer", "producer", "outcome"])

REVOCATION_LAG = Gauge("parley_revocation_lag_seconds", "How long the last news of ended sessions was on its way.")
REVOCATION_HEARD = Gauge("parley_revocation_heard_timestamp_seconds", "When news of ended sessions were heard last.")
JWKS_FETCHED = Gauge("parley_jwks_fetched_timestamp_seconds", "When auth was asked for its public keys last.")


_LOOK_SECONDS = 0.2


def expose(host: str, port: int, *, patient: bool = False) -> None:
    """Starts the metrics endpoint in a thread of its own; port 0 leaves it off.

    `patient`: the process before this one may have the port still; it is taken as soon as it is free.
    """
    if port and patient:
        threading.Thread(target=_expose_when_free, args=(host, port), daemon=True).start()
    elif port:
        start_http_server(port, addr=host)


def _expose_when_free(host: str, port: int) -> None:
    while True:
        try:
            start_http_server(port, addr=host)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            time.sleep(_LOOK_SECONDS)
        else:
            return
