"""The policy file: limits, networks, rules for countries and routes, checked as a whole before any of it holds.

A deployment's own file is laid over the default of the package, `policy.yaml`, attribute by attribute. What is wrong is
said with its place and with what would be right, and nothing of such a file is taken.
"""

import asyncio
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from time import time
from typing import Annotated, Any, Literal, TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictInt, ValidationError
from pydantic_core import ErrorDetails

from gateway.domain import country
from gateway.domain.client_ip import Networks, networks
from gateway.domain.gcra import Limit, priced
from gateway.domain.load import Priority
from gateway.domain.metrics import POLICY_LOADED, POLICY_REFUSED
from gateway.domain.table import Owner, Route, Token
from gateway.domain.yaml_file import Document, Place, Unreadable, read

_DEFAULT = Path(__file__).parent.parent / "policy.yaml"
_ANYWHERE = "none"
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SIZE = re.compile(r"([1-9][0-9]{0,9}) ?(KiB|MiB|GiB)?")
_PREFIX = re.compile(r"/|(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+/?")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MOST_REASONS = 10
Made = TypeVar("Made")

log = structlog.get_logger()


class Refused(ValueError):
    """The file cannot be meant. The text is one line and names each place."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What a policy file says, all of it checked."""

    limits: dict[str, Limit]
    networks: Networks
    countries: dict[str, country.Rules]
    routes: tuple[Route, ...]

    @property
    def elsewhere(self) -> country.Rules:
        """What holds where no route does."""
        return self.countries["default"]


class PolicyFile:
    def __init__(self, path: Path | None, *, database: bool = False) -> None:
        """`path`: the deployment's own file, if it has one. `database`: whether there is one of countries."""
        self._path = path
        self._database = database
        self._stamp = self._stamp_now()

    def read(self) -> Terms:
        """Raises Refused."""
        stamp = self._stamp_now()
        own = Document({})
        try:
            if self._path is not None:
                own = read(self._path)
                _require_version(own)
            terms = _terms(_laid_over(_default(), own.content), database=self._database)
        except (Unreadable, _Wrong) as error:
            raise Refused(f"{self._path or _DEFAULT}: {_described(error, own)}") from error
        finally:
            self._stamp = stamp
        POLICY_LOADED.set(time())
        return terms

    def reload(self) -> Terms | None:
        """What a changed file says; None when it has not changed, or is refused and what holds goes on."""
        if self._stamp_now() == self._stamp:
            return None
        try:
            terms = self.read()
        except Refused as error:
            POLICY_REFUSED.set(1)
            log.warning("policy_refused", reason=str(error))
            return None
        POLICY_REFUSED.set(0)
        log.info("policy_loaded", path=str(self._path))
        return terms

    async def watch(self, take: Callable[[Terms], None], seconds: float = 2.0) -> None:
        while True:
            await asyncio.sleep(seconds)
            # Reading and checking takes milliseconds, in which no open stream would move.
            terms = await asyncio.to_thread(self.reload)
            if terms is not None:
                take(terms)

    def _stamp_now(self) -> tuple[int, int, int] | None:
        """Of the file as it is; None where it cannot be seen."""
        try:
            stat = self._path.stat() if self._path is not None else None
        except OSError:
            return None
        return None if stat is None else (stat.st_mtime_ns, stat.st_size, stat.st_ino)


# The form. What depends on other parts of the file, and what the texts mean, is checked further down.


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Networks(_Form):
    ipv4: Annotated[StrictInt, Field(ge=8, le=32)]
    ipv6: Annotated[StrictInt, Field(ge=16, le=128)]


class _Countries(_Form):
    allow: list[str] = []
    deny: list[str] = []
    exempt: list[str] = []
    unknown: country.Choice = "auto"
    private: country.Choice = "auto"
    status: Literal[403, 451] = 403
    shadow: StrictBool = False


class _Route(_Form):
    owner: Literal["gateway", "auth", "chat", "socket", "notify"]
    limits: list[str] = ["ip", "user"]
    posts: list[str] = []
    token: Literal["checked", "ignored"] = "checked"  # noqa: S105  -- a mode
    countries: str | None = None
    body: Any = None
    sockets: StrictBool = False
    secret: StrictBool = False
    strict: StrictBool = False
    priority: Literal["low", "normal", "high"] = "normal"


class _File(_Form):
    version: Literal[1]
    limits: dict[str, str]
    networks: _Networks
    countries: dict[str, _Countries]
    routes: dict[str, _Route]


_SECTIONS: dict[str, type[_Form]] = {"networks": _Networks, "countries": _Countries, "routes": _Route}


class _Wrong(ValueError):
    def __init__(self, reasons: list[tuple[Place, str]]) -> None:
        super().__init__()
        self.reasons = reasons


@lru_cache(maxsize=1)
def _default() -> dict[str, Any]:
    return read(_DEFAULT).content


def _require_version(own: Document) -> None:
    if "version" not in own.content:
        raise _Wrong([(("version",), "is missing; the file begins with `version: 1`")])


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any], place: Place = ()) -> dict[str, Any]:
    laid = dict(base)
    for name, value in own.items():
        if isinstance(value, dict):
            below = laid.get(name)
            laid[name] = _laid_over(below if isinstance(below, dict) else {}, value, (*place, name))
        elif value is not None:
            laid[name] = value
        elif place:
            if name not in laid:
                raise _Wrong([((*place, name), "there is none that could be taken away")])
            del laid[name]
        # A section with nothing in it changes nothing.
    return laid


def _terms(content: Mapping[str, Any], *, database: bool) -> Terms:
    try:
        file = _File.model_validate(content)
    except ValidationError as error:
        raise _Wrong([(each["loc"], _reason(each)) for each in error.errors()]) from error
    return _Reading(file, database=database).terms()


def _reason(error: ErrorDetails) -> str:
    kind = error["type"]
    if kind == "extra_forbidden":
        form = _File if len(error["loc"]) == 1 else _SECTIONS[str(error["loc"][0])]
        return f"there is no such word; there are {', '.join(form.model_fields)}"
    if kind == "literal_error":
        return f"must be {error['ctx']['expected']}, not {error['input']!r}"
    return _REASONS.get(kind) or error["msg"]


_REASONS = {
    "missing": "is missing",
    "dict_type": "must be a mapping, as {name: value}",
    "model_type": "must be a mapping, as {name: value}",
    "list_type": "must be a list, as [one, two]",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "int_type": "must be a number",
}


class _Reading:
    """What a file of the right form means. All that is wrong is collected, so that one look mends it."""

    def __init__(self, file: _File, *, database: bool) -> None:
        self._file = file
        self._database = database
        self._wrong: list[tuple[Place, str]] = []

    def terms(self) -> Terms:
        file = self._file
        for section, name in (("limits", "ip"), ("countries", "default")):
            if name not in getattr(file, section):
                self._wrong.append(((section, name), "is missing; calls of paths without a route follow it"))
        limits = {name: self._sense(("limits", name), _limit, name, text) for name, text in file.limits.items()}
        rules = {name: self._rules(name, given) for name, given in file.countries.items()}
        routes = [self._route(prefix, given, rules, limits) for prefix, given in file.routes.items()]
        if self._wrong:
            raise _Wrong(self._wrong)
        return Terms(
            limits={name: limit for name, limit in limits.items() if limit is not None},
            networks=Networks(file.networks.ipv4, file.networks.ipv6),
            countries=rules,
            routes=tuple(routes),
        )

    def _sense(self, place: Place, make: Callable[..., Made], *given: Any) -> Made | None:
        try:
            return make(*given)
        except ValueError as error:
            self._wrong.append((place, str(error).rstrip(".")))
            return None

    def _rules(self, name: str, given: _Countries) -> country.Rules:
        place = ("countries", name)
        self._sense(place, _name, name)
        for words in ("allow", "deny"):
            if getattr(given, words) and not self._database:
                self._wrong.append(((*place, words), "needs a database; name one in GATEWAY_COUNTRY_DATABASE"))
        return country.Rules(
            name=name,
            allow=self._sense((*place, "allow"), country.codes, given.allow) or frozenset(),
            deny=self._sense((*place, "deny"), country.codes, given.deny) or frozenset(),
            exempt=self._sense((*place, "exempt"), networks, given.exempt) or (),
            unknown=given.unknown,
            private=given.private,
            status=given.status,
            shadow=given.shadow,
        )

    def _route(
        self, prefix: str, given: _Route, rules: Mapping[str, country.Rules], limits: Mapping[str, Limit | None]
    ) -> Route:
        place = ("routes", prefix)
        self._sense(place, _prefix, prefix)
        for attribute in ("limits", "posts"):
            for at, name in enumerate(getattr(given, attribute)):
                self._sense((*place, attribute, at), _counted, name, limits)
        if given.countries is not None:
            self._sense((*place, "countries"), _one_of, given.countries, [*rules, _ANYWHERE])
        return Route(
            prefix.encode(),
            Owner(given.owner),
            limits=tuple(given.limits),
            token=Token(given.token),
            body=None if given.body is None else self._sense((*place, "body"), _bytes, given.body),
            countries=rules.get(self._countries(prefix)),
            sockets=given.sockets,
            posts=tuple(given.posts),
            secret=given.secret,
            strict=given.strict,
            priority=Priority[given.priority.upper()],
        )

    def _countries(self, prefix: str) -> str:
        """Of the longest prefix that names any: who guards a prefix means all below it, routes of other limits too."""
        while prefix:
            given = self._file.routes.get(prefix)
            if given is not None and given.countries is not None:
                return given.countries
            prefix = prefix.rpartition("/")[0]
        return "default"


def _limit(name: str, text: str) -> Limit:
    return Limit.parse(_name(name), text)


def _name(name: str) -> str:
    if not _NAME.fullmatch(name) or name == _ANYWHERE:
        raise ValueError(f"{name!r} is no name; use small letters, as `login`")
    return name


def _prefix(prefix: str) -> None:
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("is no plain path; write it as /api/v1/things")
    if prefix.startswith("/internal/") or prefix == "/internal":
        raise ValueError("what is below /internal is between the services, and never has a route")


def _counted(text: str, limits: Mapping[str, Limit | None]) -> None:
    name, cost = priced(text)
    _one_of(name, limits.keys())
    limit = limits[name]
    if limit is not None and cost > limit.burst:
        raise ValueError(f"{text!r} could never be called; the burst is {limit.burst}")


def _one_of(name: str, names: Collection[str]) -> None:
    if name not in names:
        raise ValueError(f"{name!r} is none of {', '.join(names)}")


def _bytes(size: object) -> int:
    match = _SIZE.fullmatch(str(size))
    if match is None:
        raise ValueError(f"{size!r} is no size; write it as 512KiB or 100MiB")
    return int(match[1]) * _UNITS[match[2] or ""]


def _described(error: Unreadable | _Wrong, own: Document) -> str:
    if isinstance(error, Unreadable):
        return str(error)
    reasons = [_placed(place, reason, own.line_of(place)) for place, reason in error.reasons[:_MOST_REASONS]]
    more = len(error.reasons) - _MOST_REASONS
    return "; ".join([*reasons, f"and {more} more"] if more > 0 else reasons)


def _placed(place: Place, reason: str, line: int | None) -> str:
    where = " > ".join(map(str, place))
    return f"{where}: {reason}" if line is None else f"line {line}, {where}: {reason}"
