"""What one may react with: one emoji, or the name of one as `:tada:`."""

import re
import unicodedata

# The longest sequence that Unicode recommends takes 41 bytes.
_MOST_BYTES = 48
_SHORTCODE = re.compile(r":[a-z0-9_+-]{1,30}:")
_FLAG = re.compile("[\U0001f1e6-\U0001f1ff]{2}")
_KEYCAP = re.compile("[0-9#*]\ufe0f?\u20e3")
_PICTURE = re.compile("(.)\ufe0f?[\U0001f3fb-\U0001f3ff]?\ufe0f?[\U000e0020-\U000e007f]*")
_JOINER = "\u200d"
# Symbols by their look, punctuation or letters by their category.
_ODD = frozenset("\u203c\u2049\u2139\u3030")


def is_emoji(text: str) -> bool:
    if _SHORTCODE.fullmatch(text):
        return True
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= _MOST_BYTES and all(map(_is_part, text.split(_JOINER)))


def _is_part(part: str) -> bool:
    if _FLAG.fullmatch(part) or _KEYCAP.fullmatch(part):
        return True
    picture = _PICTURE.fullmatch(part)
    return picture is not None and _is_picture(picture[1])


def _is_picture(character: str) -> bool:
    if character.isascii():
        return False
    # Emoji of a Unicode that is newer than this Python have no category yet.
    newer = "\U0001f000" <= character <= "\U0001faff"
    return newer or character in _ODD or unicodedata.category(character) in ("So", "Sm")
