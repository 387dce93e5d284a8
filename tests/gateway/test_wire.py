"""The grammar, beside a parser that others wrote: what we accept it accepts too, and it means the same."""

from itertools import pairwise
from typing import Any

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.domain.wire import Chunks, Malformed, field_lines, hopeless, request_line, split_lines

_NOISE = st.sampled_from(
    [b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\x00", b"\x0b", b"\x7f", b"\xff", b"(", b"0", b""]
)
_END = st.sampled_from([b"\r\n", b"\r\n", b"\n"])
_NAME = st.sampled_from([b"Host", b"x-a", b"Accept", b"X_B", b"Content-Length", b"Transfer-Encoding"])
_VALUE = st.binary(max_size=12)
_FIELD = st.tuples(_NAME, _NOISE, st.just(b":"), _NOISE, _VALUE, _NOISE, _END).map(b"".join)
_LINE = st.tuples(
    st.sampled_from([b"GET", b"POST", b"get", b"G T", b""]),
    st.sampled_from([b" ", b"  ", b"\t"]),
    st.sampled_from([b"/", b"/a?b=c", b"/%zz", b"*", b"/\xc3\xa4", b"http://a/"]),
    st.sampled_from([b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b" HTTP/1.9\r\n", b" HTTP/1.1\n", b"\r\n"]),
).map(b"".join)


class Theirs:
    """What llhttp makes of a request."""

    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete = True


def read(data: bytes) -> tuple[Theirs, Any]:
    theirs = Theirs()
    parser = httptools.HttpRequestParser(theirs)
    parser.feed_data(data)
    return theirs, parser


@pytest.mark.promise("W5", "G35")
@given(_LINE, st.lists(_FIELD, max_size=4))
@example(b"GET / HTTP/1.1\r\n", [b"Host: a\r\n", b"X-A:  b \t\r\n"])
def test_a_head_that_we_take_means_the_same_to_others(line: bytes, fields: list[bytes]) -> None:
    data = line + b"".join(fields) + b"\r\n"
    try:
        method, target, version, end = request_line(data, 0)
        ours = split_lines(field_lines(data[end:]))
    except Malformed:
        return
    # Where a body would come in, or the two lengths of one message, the checks behind the grammar decide.
    if any(name in (b"content-length", b"transfer-encoding") for name, _ in ours):
        return
    theirs, parser = read(data)
    assert (method, target, version) == (parser.get_method(), theirs.url, parser.get_http_version()[-1:].encode())
    # The blanks behind a value are no part of it (RFC 9110, 5.5); llhttp leaves them.
    assert ours == [(name, value.strip(b" \t")) for name, value in theirs.headers]


@pytest.mark.promise("W5", "G35")
@given(st.binary(max_size=60), st.data())
def test_a_head_that_is_hopeless_never_becomes_one(data: bytes, more: st.DataObject) -> None:
    if not hopeless(data, 0):
        return
    whole = data + more.draw(st.sampled_from([b"\r\n\r\n", b"\r\nHost: a\r\n\r\n", b"\n\r\n"]))
    assert is_head(data) is False
    assert is_head(whole) is False


def is_head(data: bytes) -> bool:
    try:
        _, _, _, end = request_line(data, 0)
        field_lines(data[end:])
    except Malformed:
        return False
    return True


def parts(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


def unchunked(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    """The body and what came behind it; None: it is malformed, or not over."""
    chunks, out = Chunks(), []
    for number, piece in enumerate(pieces):
        try:
            end = chunks.feed(piece, 0, out)
        except Malformed:
            return None
        if end != -1:
            return b"".join(out), piece[end:] + b"".join(pieces[number + 1 :])
    return None


@pytest.mark.promise("W5", "G35")
@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.lists(st.integers(0, 200), max_size=8))
def test_chunks_are_the_same_wherever_they_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    data = b"".join(b"%x;a=b\r\n%s\r\n" % (len(body), body) for body in bodies) + b"0\r\nX-T: 1\r\n\r\nNEXT"
    assert unchunked(parts(data, cuts)) == (b"".join(bodies), b"NEXT")


_GOOD = (b"1\r\na\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n", b"0\r\n", b"\r\n", b"X: y\r\n", b"a")
_BAD = (b"\n", b"1;x\r\n", b" 1\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b"1 \r\n", b"ffffffffff\r\n", b"X : y\r\n")
_PIECE = st.sampled_from((*_GOOD, *_BAD, b"Content-Length: 1\r\n", b"\x00"))


@pytest.mark.promise("W5", "G35")
@given(st.lists(_PIECE, max_size=7), st.lists(st.integers(0, 60), max_size=4))
def test_a_body_of_chunks_that_we_take_means_the_same_to_others(pieces: list[bytes], cuts: list[int]) -> None:
    data = b"".join(pieces)
    ours = unchunked(parts(data, cuts))
    assert ours == unchunked([data])
    if ours is None:
        return
    whole = data[: len(data) - len(ours[1])]
    theirs, _ = read(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + whole)
    assert theirs.complete
    assert theirs.body == ours[0]
