"""The link that knows its reader, and tells nobody else."""

from base64 import urlsafe_b64decode
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.errors import NotFound
from notify_service.domain.unsubscribe_links import VALID, Reader, UnsubscribeLinks
from tests.notify.ways_out import LINKS, OTHER_KEY, link_to
from tests.notify.world import FIELD_KEYS, PUBLIC_URL

NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,39}", fullmatch=True)
ADDRESSES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=150)
MOMENTS = st.integers(0, 60_000).map(lambda days: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=days))


@pytest.mark.promise("N59")
@given(NAMES, NAMES.filter(lambda each: each != "security"), ADDRESSES | st.uuids(), st.none() | ADDRESSES, MOMENTS)
def test_link_tells_us_its_reader(channel: str, category: str, who: Any, at_address: str | None, at: datetime) -> None:
    reader = Reader(channel, category, who, at_address if isinstance(who, UUID) else None)
    token = (LINKS.to(reader, at) or "").removeprefix(f"{PUBLIC_URL}/u/")
    # Keys may change, as long as the old one is kept.
    assert UnsubscribeLinks(f"{OTHER_KEY},{FIELD_KEYS}", None).read(token, at + VALID) == reader
    for keys, later in ((OTHER_KEY, timedelta()), (FIELD_KEYS, VALID + timedelta(days=1))):
        with pytest.raises(NotFound):
            UnsubscribeLinks(keys, None).read(token, at + later)


def test_link_tells_others_nothing() -> None:
    sealed = urlsafe_b64decode(link_to("email", "newsletter", "ada.lovelace@example.test").removeprefix("/u/") + "==")
    assert not any(word in sealed for word in (b"email", b"newsletter", b"lovelace", b"example"))


def test_there_is_no_link_to_what_cannot_be_ended() -> None:
    now = datetime.now(UTC)
    assert LINKS.to(Reader("email", "security", "a@example.test"), now) is None
    assert LINKS.to(Reader("webpush", "news", "x" * 4000), now) is None
    assert UnsubscribeLinks(FIELD_KEYS, None).to(Reader("email", "news", "a@example.test"), now) is None
