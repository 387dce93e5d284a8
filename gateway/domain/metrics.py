"""What the gateway counts. Labels are few: names of routes and reasons, never addresses, users or paths."""

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("parley_gateway_requests_total", "Answered requests.", ["route", "status"])


@lru_cache(maxsize=4096)
def requests(route: str, status: int) -> Counter:
    """The counter of one pair: finding it by its labels each time would cost more than counting."""
    return REQUESTS.labels(route, str(status))


REFUSED = Counter("parley_gateway_refused_total", "Requests that the gateway itself refused.", ["code"])
UPSTREAM_SECONDS = Histogram(
    "parley_gateway_upstream_seconds",
    "From the request sent to a service to the head of its answer.",
    ["owner"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
UPSTREAM_FAILURES = Counter("parley_gateway_upstream_failures_total", "Calls that brought no answer.", ["owner", "why"])
CONNECTIONS = Gauge("parley_gateway_connections", "Open connections of clients, sockets among them.")
FALLBACK = Gauge("parley_gateway_limiter_fallback", "1 while limits are counted by this process alone.")
REVOCATION_LAG = Gauge("parley_gateway_revocation_lag_seconds", "Since the stream of revocations was heard last.")
COUNTRY_AGE = Gauge("parley_gateway_country_database_age_seconds", "Age of the country database; 0 without one.")
GARBLED = Counter("parley_gateway_garbled_forwarding_total", "Requests whose X-Forwarded-For was no list of addresses.")
