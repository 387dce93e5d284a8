"""What is said between Parley and one person, as that person's phone shows it."""

from collections.abc import Sequence
from dataclasses import dataclass

from deploy.sandbox.markup import Html, tag


@dataclass(frozen=True, slots=True)
class Said:
    """`own`: by the person whose phone it is. `keys`: what can be pressed below it."""

    words: str
    own: bool
    note: str
    keys: Sequence[Html] = ()


def talk(said: Sequence[Said]) -> Html:
    """The oldest first."""
    return tag("section", *(_bubble(each) for each in said), class_="talk")


def field(path: str) -> Html:
    """To write in, below the talk."""
    text = tag(
        "input", name="text", placeholder="Message", aria_label="Message", autocomplete="off", required="required"
    )
    return tag("form", text, tag("button", "Send", class_="strong"), method="post", action=path, class_="field")


def _bubble(said: Said) -> Html:
    keys = [tag("div", *said.keys, class_="keys")] if said.keys else []
    side = "own" if said.own else "theirs"
    return tag("div", tag("p", said.words, class_="words"), tag("small", said.note), *keys, class_=f"bubble {side}")
