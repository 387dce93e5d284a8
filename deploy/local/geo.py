"""`./parley geo`: a country database that may be passed on, made of what Debian packages.

The data is that of the IPFire location project (CC BY-SA 4.0), which Tor publishes with each release and Debian with
its security updates; the files say themselves when it was made and under which terms. Other free databases are on no
package registry, come with terms that forbid passing them on, or say of themselves that they are no longer right.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from ipaddress import IPv4Address, IPv6Address, summarize_address_range
from pathlib import Path
from typing import Any

from mmdb_writer import MMDBWriter
from netaddr import IPNetwork, IPSet

from deploy.local.errors import LocalError

_PACKAGE = "tor-geoipdb"
_FILES = ("geoip", "geoip6")
_UNKNOWN = "??"
_SECONDS = 300
_MOUNT = (
    "Any GeoLite2-Country, DB-IP Country Lite or flat .mmdb file does as well: name it with GATEWAY_COUNTRY_DATABASE."
)

Address = IPv4Address | IPv6Address


class GeoError(LocalError):
    pass


@dataclass(frozen=True)
class Source:
    """What the files say of their data."""

    made: datetime
    vendor: str
    license: str


@dataclass(frozen=True)
class Range:
    """Both ends belong to it."""

    first: Address
    last: Address
    country: str


def make(target: Path) -> Source:
    """Fetches the package and writes the database, at once or not at all. Takes a minute or two. Raises GeoError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="parley-geo-") as name:
        folder = _fetched(Path(name))
        source = source_of((folder / "geoip").read_text("ascii"))
        fresh = target.with_name(f"{target.name}.new")
        write(fresh, (each for file in _FILES for each in ranges(folder / file)), source)
        fresh.replace(target)
    return source


def _fetched(folder: Path) -> Path:
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise GeoError(f"There is no {program} here: the data comes from Debian's package {_PACKAGE}. {_MOUNT}")
    # Into a folder of ours: nothing is installed, so nobody has to be root.
    _run("apt-get", "-qq", "-o", "APT::Sandbox::User=root", "download", _PACKAGE, folder=folder)
    package = next(folder.glob(f"{_PACKAGE}_*.deb"), None)
    if package is None:
        raise GeoError(f"apt-get downloaded no {_PACKAGE}. {_MOUNT}")
    _run("dpkg-deb", "--extract", str(package), "unpacked", folder=folder)
    return folder / "unpacked" / "usr" / "share" / "tor"


def _run(*command: str, folder: Path) -> None:
    try:
        finished = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise GeoError(f"{command[0]} took longer than {_SECONDS // 60} minutes. {_MOUNT}") from None
    if finished.returncode:
        said = finished.stderr.strip().splitlines()[-1:] or ["it did not say why"]
        raise GeoError(f"{command[0]} failed: {said[0]}. (Did `apt-get update` ever run here?) {_MOUNT}")


def source_of(text: str) -> Source:
    """From the comments at the beginning. Without a date nobody could know how old it is."""
    comments = [line[1:] for line in text[:4096].splitlines() if line.startswith("#") and ":" in line]
    said = {name.strip(): value.strip() for name, _, value in (comment.partition(":") for comment in comments)}
    try:
        made = parsedate_to_datetime(said["Generated"])
    except (KeyError, ValueError):
        raise GeoError(f"The data of {_PACKAGE} does not say when it was made. {_MOUNT}") from None
    return Source(made, said.get("Vendor", "unknown"), said.get("License", "unknown"))


def ranges(path: Path) -> Iterator[Range]:
    """Lines are `first,last,country`, IPv4 as numbers; what has no country is left out, neighbours become one."""
    last: Range | None = None
    with path.open(encoding="ascii") as lines:
        for line in lines:
            if line.startswith("#"):
                continue
            begin, end, country = line.rstrip().split(",")
            here = Range(_address(begin), _address(end), country)
            if last is not None and last.country == country and int(last.last) + 1 == int(here.first):
                last = Range(last.first, here.last, country)
                continue
            if last is not None and last.country != _UNKNOWN:
                yield last
            last = here
    if last is not None and last.country != _UNKNOWN:
        yield last


def _address(text: str) -> Address:
    return IPv4Address(int(text)) if text.isdigit() else IPv6Address(text)


class _Dated(MMDBWriter):
    """Its age is that of the data, not that of the file: the gateway says how old it is."""

    def __init__(self, source: Source) -> None:
        text = f"{source.vendor}, {source.made:%Y-%m-%d}, {source.license}"
        super().__init__(6, "Parley-Country", languages=["en"], description=text, ipv4_compatible=True)
        self._made = source.made

    def _build_meta(self) -> dict[str, Any]:
        return {**super()._build_meta(), "build_epoch": int(self._made.timestamp())}


def write(path: Path, found: Iterable[Range], source: Source) -> None:
    writer = _Dated(source)
    for each in found:
        for network in summarize_address_range(each.first, each.last):
            writer.insert_network(IPSet([IPNetwork(str(network))]), {"country_code": each.country})
    writer.to_db_file(str(path))
