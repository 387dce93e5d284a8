"""What the gateway counts. Labels are few: names of routes and reasons, never addresses, users or paths.

What every request counts is kept in plain numbers and handed over when somebody asks: a counter of the library costs a
lock and a microsecond each time.
"""

from bisect import bisect_left
from collections.abc import Iterator

from prometheus_client import REGISTRY, Counter, Gauge
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Timing:
    """A histogram of seconds."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_BUCKETS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_BUCKETS, seconds)] += 1
        self.total += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Each with all below it."""
        found: list[tuple[str, float]] = []
        below = 0
        for edge, count in zip((*map(str, _BUCKETS), "+Inf"), self.counts, strict=True):
            below += count
            found.append((edge, float(below)))
        return found


class Tally(Collector):
    """Of this process; read by the thread that serves the metrics, which can only find a number a little old."""

    def __init__(self) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.refusals: dict[str, int] = {}
        self.upstream: dict[str, Timing] = {}

    def answered(self, route: str, status: int) -> None:
        key = (route, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def refused(self, code: str) -> None:
        self.refusals[code] = self.refusals.get(code, 0) + 1

    def timing(self, owner: str) -> Timing:
        return self.upstream.setdefault(owner, Timing())

    def collect(self) -> Iterator[Metric]:
        requests = CounterMetricFamily("parley_gateway_requests", "Answered requests.", labels=["route", "status"])
        for (route, status), count in list(self.requests.items()):
            requests.add_metric([route, str(status)], count)
        yield requests
        refusals = CounterMetricFamily(
            "parley_gateway_refused", "Requests that the gateway itself refused.", labels=["code"]
        )
        for code, count in list(self.refusals.items()):
            refusals.add_metric([code], count)
        yield refusals
        seconds = HistogramMetricFamily(
            "parley_gateway_upstream_seconds",
            "From the request sent to a service to the head of its answer.",
            labels=["owner"],
        )
        for owner, timing in list(self.upstream.items()):
            seconds.add_metric([owner], timing.buckets(), timing.total)
        yield seconds


TALLY = Tally()
REGISTRY.register(TALLY)
SHADOWED = Counter("parley_gateway_shadowed_total", "Requests that a rule in shadow would have refused.", ["rule"])
UPSTREAM_FAILURES = Counter("parley_gateway_upstream_failures_total", "Calls that brought no answer.", ["owner", "why"])
RETRIES = Counter("parley_gateway_retries_total", "Calls that were asked once more after a failure.", ["owner"])
CIRCUITS_OPEN = Gauge(
    "parley_gateway_circuits_open",
    "Processes of a service that are not asked, because too many calls failed.",
    ["owner"],
)
AILING = Gauge("parley_gateway_ailing", "Processes of a service that miss their probes.", ["owner"])
CONNECTIONS = Gauge("parley_gateway_connections", "Open connections of clients, sockets among them.")
LAG = Gauge("parley_gateway_loop_lag_seconds", "How late the loop is, smoothed over a second.")
SHEDDING = Gauge("parley_gateway_shedding", "0: all is served; 1: low priorities are not; 2: only high ones are.")
UNANNOUNCED = Counter(
    "parley_gateway_unannounced_total", "Connections closed because they did not begin with whom they are for."
)
FALLBACK = Gauge("parley_gateway_limiter_fallback", "1 while limits are counted by this process alone.")
REVOCATION_LAG = Gauge("parley_gateway_revocation_lag_seconds", "Since the stream of revocations was heard last.")
COUNTRY_AGE = Gauge("parley_gateway_country_database_age_seconds", "Age of the country database; 0 without one.")
USAGE_LOST = Counter("parley_gateway_usage_lost_total", "Calls that the log of usage will never have.")
GARBLED = Counter("parley_gateway_garbled_forwarding_total", "Requests whose X-Forwarded-For was no list of addresses.")
POLICY_LOADED = Gauge("parley_gateway_policy_loaded_timestamp_seconds", "When a policy file was read that now holds.")
POLICY_REFUSED = Gauge("parley_gateway_policy_refused", "1 while the policy file is refused and an earlier one holds.")
