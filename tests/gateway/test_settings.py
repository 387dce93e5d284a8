"""Settings that cannot be meant end the start with one line, which says which they are and shows no secret."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.__main__ import main
from notify_service.__main__ import main as notify


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key_ring_path: Path) -> None:
    """In a folder without a file of settings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PARLEY_KEY_RING", str(key_ring_path))
    monkeypatch.setattr(sys, "argv", ["gateway", "check"])


def refusal() -> str:
    with pytest.raises(SystemExit) as ended:
        main()
    said = str(ended.value.code)
    assert said.startswith("The settings are refused. ")
    assert "\n" not in said
    return said


def test_all_that_cannot_be_meant_is_said_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PARLEY_TRUSTED_PROXIES", "GATEWAY_EXEMPT_NETWORKS", "GATEWAY_CLOUDFLARE_NETWORKS"):
        monkeypatch.setenv(name, "10.0.0.0/8,10.0.0.0/33")
    monkeypatch.setenv("GATEWAY_PROXY_PROTOCOL", "balancer")
    monkeypatch.setenv("GATEWAY_HOSTS", "https://api.example.com")
    monkeypatch.setenv("GATEWAY_CHAT_URLS", "http://127.0.0.1:8002,ftp://127.0.0.1")
    monkeypatch.setenv("GATEWAY_NOTIFY_URLS", ",")
    said = refusal()
    for part in (
        "PARLEY_TRUSTED_PROXIES: '10.0.0.0/33' does not appear",
        "GATEWAY_EXEMPT_NETWORKS: '10.0.0.0/33' does not appear",
        "GATEWAY_CLOUDFLARE_NETWORKS: '10.0.0.0/33' does not appear",
        "GATEWAY_PROXY_PROTOCOL: 'balancer' does not appear",
        "GATEWAY_HOSTS: 'https://api.example.com' is no name of a host",
        "GATEWAY_CHAT_URLS: 'ftp://127.0.0.1' is no address of a service",
        "GATEWAY_NOTIFY_URLS: there must be one",
    ):
        assert part in said


@pytest.mark.parametrize("url", ["http://chat:hunter2@127.0.0.1:8002", "http://chat:hunt/er2@127.0.0.1:8002"])
def test_address_of_a_service_holds_no_password(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("GATEWAY_SOCKET_URLS", url)
    said = refusal()
    assert "GATEWAY_SOCKET_URLS: the address of a service holds no user and no password" in said
    assert "hunt" not in said


def test_wrong_type_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_MAX_CONNECTIONS", "many")
    monkeypatch.setenv("PARLEY_LOG_LEVEL", "loud")
    said = refusal()
    assert "GATEWAY_MAX_CONNECTIONS: Input should be a valid integer" in said
    assert "PARLEY_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'" in said
    assert "many" not in said


def test_limit_that_is_still_a_variable_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GATEWAY_LIMIT_LOGIN", "5/min")
    (tmp_path / ".env").write_text("gateway_country_deny=KP\n")
    said = refusal()
    assert "GATEWAY_COUNTRY_DENY, GATEWAY_LIMIT_LOGIN: " in said
    assert "GATEWAY_POLICY_FILE" in said
    # What still is one does no harm.
    monkeypatch.delenv("GATEWAY_LIMIT_LOGIN")
    (tmp_path / ".env").write_text(f"GATEWAY_COUNTRY_DATABASE={tmp_path / 'countries.mmdb'}\n")
    main()


def test_settings_of_other_services_show_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_DATABASE_URL", "postgresql://notify:hunter2@127.0.0.1/notify")
    monkeypatch.delenv("PARLEY_FIELD_KEYS", raising=False)
    monkeypatch.setenv("PARLEY_ENVIRONMENT", "production")
    with pytest.raises(SystemExit) as ended:
        notify(["serve"])
    assert "PARLEY_FIELD_KEYS still has its default value" in str(ended.value.code)
    assert "hunter2" not in str(ended.value.code)


@pytest.mark.parametrize("name", ["PARLEY_AUTH_URL", "PARLEY_JWKS_URL", "PARLEY_CHAT_URL"])
def test_address_that_services_call_holds_no_password(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "http://parley:hunter2/x@127.0.0.1:8001")
    with pytest.raises(SystemExit) as ended:
        notify(["serve"])
    said = str(ended.value.code)
    assert f"{name}: the address of a service holds no user and no password" in said
    assert "hunter2" not in said


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFY_SMTP_CA_FILE", "/nowhere/certificate.pem"),
        ("NOTIFY_SMTP_URL", "smtp://parley:hunter2@127.0.0.1?certificate=/nowhere/certificate.pem"),
        ("NOTIFY_SMTP_URL", "smtp://parley:hunter2:x@127.0.0.1:y"),
        ("NOTIFY_MAIL_FROM", "nobody"),
    ],
)
@pytest.mark.parametrize("process", ["serve", "worker"])
def test_process_of_mails_says_what_it_cannot_use(
    monkeypatch: pytest.MonkeyPatch, process: str, name: str, value: str
) -> None:
    monkeypatch.setenv("PARLEY_ENVIRONMENT", "development")
    monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        notify([process])
    said = str(ended.value.code)
    assert name in said
    assert "\n" not in said
    assert "hunter2" not in said


def test_server_ends_with_the_line_alone(tmp_path: Path) -> None:
    env = {**os.environ, "GATEWAY_HOSTS": "*", "PYTHONPATH": str(Path(__file__).parents[2])}
    argv = [sys.executable, "-m", "gateway", "serve"]
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.startswith("The settings are refused. GATEWAY_HOSTS: '*' is no name")) == (1, True)
