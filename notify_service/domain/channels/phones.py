"""Numbers of phones, and what a text costs them."""

import re
from collections.abc import Iterable

_NUMBER = re.compile(r"\+[1-9][0-9]{6,14}")
# What people write between the digits.
_BETWEEN = str.maketrans("", "", " -./()\u00a0")

# The alphabet of GSM 03.38 and its extension, whose characters take two places (3GPP TS 23.038 v18, 6.2.1).
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENSION = frozenset("\f^{}\\[~]|€")
GSM_7, UCS_2 = "GSM-7", "UCS-2"
_ALONE = {GSM_7: 160, UCS_2: 70}
# Of a text in several segments each begins with a header of six bytes (3GPP TS 23.040, 9.2.3.24.1).
_LINKED = {GSM_7: 153, UCS_2: 67}

MOST_SEGMENTS = 10
TEXT_MAX = MOST_SEGMENTS * _LINKED[GSM_7]
"""Characters of a text that has none but those of the GSM alphabet."""


def e164(text: str) -> str:
    """The number in its one form, `+491511234567`. Raises ValueError."""
    number = text.translate(_BETWEEN)
    if not _NUMBER.fullmatch(number):
        raise ValueError("A phone number is + and the country's code, then 6 to 14 digits, as +491511234567.")
    return number


def segments(text: str) -> tuple[str, int]:
    """How a text travels: its encoding, `GSM-7` or `UCS-2`, and into how many segments it is cut, each of which is paid
    for. One character outside the alphabet makes all of the text UCS-2. No character is cut in two."""
    encoding = GSM_7 if _BASIC.union(_EXTENSION).issuperset(text) else UCS_2
    widths = [_width(character, encoding) for character in text]
    if sum(widths) <= _ALONE[encoding]:
        return encoding, 1 if text else 0
    return encoding, _fill(widths, _LINKED[encoding])


def _width(character: str, encoding: str) -> int:
    if encoding == GSM_7:
        return 2 if character in _EXTENSION else 1
    return 2 if ord(character) > 0xFFFF else 1


def _fill(widths: Iterable[int], room: int) -> int:
    count, left = 1, room
    for width in widths:
        if width > left:
            count, left = count + 1, room
        left -= width
    return count
