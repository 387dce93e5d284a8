"""Rules on trial: whom they would have refused is let through, counted, and told of once a second and rule at most."""

from time import monotonic

import structlog

from gateway.domain.metrics import SHADOWED

_TOLD_SECONDS = 1.0

log = structlog.get_logger()


class Shadow:
    def __init__(self) -> None:
        self._requests: dict[str, int] = {}
        self._told_at = 0.0

    def cast(self, rule: str) -> None:
        """`rule`: its place in the policy file, as `countries.default`."""
        self._requests[rule] = self._requests.get(rule, 0) + 1

    def sweep(self) -> None:
        now = monotonic()
        if not self._requests or now - self._told_at < _TOLD_SECONDS:
            return
        self._told_at = now
        requests, self._requests = self._requests, {}
        for rule, count in requests.items():
            SHADOWED.labels(rule).inc(count)
            log.warning("would_have_refused", rule=rule, requests=count)
