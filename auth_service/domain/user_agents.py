"""What a `User-Agent` says, in words that a person recognises their device by. A claim, not a proof."""

import re
from dataclasses import dataclass
from functools import lru_cache

# The first that matches counts: most programs name those that they pretend to be as well.
_SYSTEMS = (
    ("iPadOS", re.compile(r"iPad(?:[^)]* OS (\d+))?")),
    ("iOS", re.compile(r"iPhone(?:[^)]* OS (\d+))?|CFNetwork/")),
    ("Android", re.compile(r"Android(?: (\d+))?|okhttp/")),
    ("ChromeOS", re.compile(r"CrOS ")),
    ("Windows", re.compile(r"Windows(?: NT (?=10))?")),
    ("macOS", re.compile(r"Mac OS X|Macintosh|Darwin/")),
    ("Linux", re.compile(r"Linux|X11")),
)
_APPS = (
    ("Edge", re.compile(r"Edg(?:e|A|iOS)?/(\d+)")),
    ("Opera", re.compile(r"(?:OPR|Opera)/(\d+)")),
    ("Samsung Internet", re.compile(r"SamsungBrowser/(\d+)")),
    ("Firefox", re.compile(r"(?:Firefox|FxiOS)/(\d+)")),
    ("Chrome", re.compile(r"(?:Chrome|CriOS|Chromium)/(\d+)")),
    ("Safari", re.compile(r"Version/(\d+).*Safari/")),
)
_PROGRAM = re.compile(r"([A-Za-z][A-Za-z0-9 ._-]{0,39})/(\d{1,9})")
_TABLET = re.compile(r"iPad|Tablet|Android(?!.*Mobile).*AppleWebKit")
_PHONE = re.compile(r"iPhone|Mobile|Android|CFNetwork/|okhttp/")
_BROWSER = re.compile(r"Mozilla/|Opera/")


@dataclass(frozen=True, slots=True)
class Described:
    """`device`: phone, tablet, computer or unknown."""

    device: str
    os: str | None
    app: str | None

    @property
    def sentence(self) -> str:
        """As in a mail: `Firefox 128 on Windows`."""
        if self.app and self.os:
            return f"{self.app} on {self.os}"
        return self.app or self.os or "an unknown device"


@lru_cache(maxsize=4096)
def described(user_agent: str) -> Described:
    """Looks at 256 characters at most; patterns have no nested repetitions, so odd texts cost no time."""
    text = user_agent[:256]
    os = _first(_SYSTEMS, text)
    if _BROWSER.match(text):
        app = _first(_APPS, text)
    else:
        program = _PROGRAM.match(text)
        app = f"{program[1].strip()} {program[2]}" if program else None
    return Described(_device(text, os), os, app)


def _device(text: str, os: str | None) -> str:
    if _TABLET.search(text):
        return "tablet"
    if _PHONE.search(text):
        return "phone"
    return "computer" if os else "unknown"


def _first(patterns: tuple[tuple[str, re.Pattern[str]], ...], text: str) -> str | None:
    for name, pattern in patterns:
        match = pattern.search(text)
        if match:
            version = next((group for group in match.groups() if group), None)
            return f"{name} {version}" if version else name
    return None
