"""Which service may ask what of which. Holding a key of one's own is not enough: what is not here is refused."""

from collections.abc import Mapping

# (asked service, path) -> those who may ask.
CALLERS: Mapping[tuple[str, str], frozenset[str]] = {
    ("auth", "/internal/users"): frozenset({"chat", "notify"}),
    ("auth", "/internal/revocations"): frozenset({"chat", "notify", "gateway"}),
    ("auth", "/internal/api-tokens"): frozenset({"chat", "notify", "gateway"}),
    ("auth", "/internal/usage"): frozenset({"gateway"}),
    ("auth", "/internal/events"): frozenset({"chat", "notify"}),
    ("chat", "/internal/events"): frozenset({"auth", "notify"}),
    ("notify", "/internal/events"): frozenset({"auth"}),
    ("notify", "/internal/notifications/read"): frozenset({"chat"}),
}
