"""`./parley geo`, with a package of our own in place of Debian's, and no network."""

import os
import shutil
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import maxminddb
import pytest

from deploy.local.binaries import CHECKOUT
from gateway.domain.client_ip import Callers
from gateway.domain.country import Countries

HEADER = """\
# Location Database Export
#
# Generated: Thu, 25 Jun 2026 04:33:59 GMT
# Vendor:    Somebody
# License:   CC BY-SA 4.0
#
"""
CONTROL = """\
Package: tor-geoipdb
Version: 1
Architecture: all
Maintainer: Nobody <nobody@example.com>
Description: data
"""
# 192.0.2.0-127 and the next 64, apart from 198.51.100.7 alone, beside what nobody knows.
IPV4 = "3221225984,3221226111,DE\n3221226112,3221226175,DE\n3221226176,3221226239,??\n3325256711,3325256711,KE\n"
IPV6 = "2001:db8::,2001:db8:ffff:ffff:ffff:ffff:ffff:ffff,KE\n"


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """A folder for PATH with the real dpkg-deb, and an apt-get that knows one package."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("There is no dpkg-deb here.")
    tree = tmp_path / "tree"
    data = tree / "usr" / "share" / "tor"
    data.mkdir(parents=True)
    (data / "geoip").write_text(HEADER + IPV4)
    (data / "geoip6").write_text(HEADER + IPV6)
    control = tree / "DEBIAN" / "control"
    control.parent.mkdir()
    control.write_text(CONTROL)
    package = tmp_path / "tor-geoipdb_1_all.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(tree), str(package)], check=True, capture_output=True
    )
    programs = tmp_path / "bin"
    programs.mkdir()
    apt = programs / "apt-get"
    apt.write_text(f'#!/bin/sh\n[ "$5" = tor-geoipdb ] || exit 1\ncp {package} .\n')
    apt.chmod(0o755)
    return programs


def geo(*arguments: str, path: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "deploy.local", "geo", *arguments],
        cwd=CHECKOUT,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.promise("G10")
def test_a_database_is_made_that_the_gateway_reads(tmp_path: Path, packages: Path) -> None:
    target = tmp_path / "made" / "country.mmdb"
    finished = geo(str(target), path=f"{packages}:{os.environ['PATH']}")
    assert finished.returncode == 0, finished.stderr
    assert "25 June 2026 by Somebody, CC BY-SA 4.0" in finished.stdout
    assert f"GATEWAY_COUNTRY_DATABASE={target}" in finished.stdout
    countries, callers = Countries(target), Callers([])
    assert countries.reload()
    found = {text: countries.of(callers.resolve(text, ())) for text in ADDRESSES}
    assert found == ADDRESSES
    with maxminddb.open_database(target) as reader:
        assert reader.metadata().build_epoch == 1782362039
        # Neighbours became one network, as far as networks go.
        assert reader.get_with_prefix_len(ip_address("192.0.2.1")) == ({"country_code": "DE"}, 25)
    assert list(target.parent.iterdir()) == [target]


ADDRESSES = {
    "192.0.2.0": "DE",
    "192.0.2.191": "DE",
    "192.0.2.192": None,
    "198.51.100.6": None,
    "198.51.100.7": "KE",
    "198.51.100.8": None,
    "2001:db8::1": "KE",
    "2001:db9::1": None,
}


def test_where_there_is_no_such_package(tmp_path: Path, packages: Path) -> None:
    target = tmp_path / "country.mmdb"
    target.write_bytes(b"the last one")
    (packages / "apt-get").write_text("#!/bin/sh\necho 'E: Unable to locate package tor-geoipdb' >&2\nexit 100\n")
    finished = geo(str(target), path=f"{packages}:{os.environ['PATH']}")
    assert finished.returncode == 1
    assert "Unable to locate package tor-geoipdb" in finished.stderr
    assert "GATEWAY_COUNTRY_DATABASE" in finished.stderr
    assert "Traceback" not in finished.stderr
    assert target.read_bytes() == b"the last one"


def test_where_packages_are_not_debians(tmp_path: Path) -> None:
    finished = geo(str(tmp_path / "country.mmdb"), path=str(tmp_path))
    assert finished.returncode == 1
    assert "There is no apt-get here" in finished.stderr
    assert "GATEWAY_COUNTRY_DATABASE" in finished.stderr
