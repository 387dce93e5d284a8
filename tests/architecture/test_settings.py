"""A setting that nothing reads protects nobody; one that is not described is found by nobody."""

import re

import pytest

from deploy.docs import DOCS, SERVICES, settings_page
from tests.architecture.tree import ROOT, sources

FIELDS = sorted({(title, name) for title, settings in SERVICES.items() for name in settings.model_fields})
READERS = "\n".join(
    path.read_text()
    for path in sources("auth_service", "chat_service", "notify_service", "gateway", "libs")
    if path.name != "settings.py"
)


@pytest.mark.parametrize(("title", "name"), FIELDS)
def test_every_setting_is_read(title: str, name: str) -> None:
    assert re.search(rf"settings\.{name}\b", READERS), f"nothing reads {name} of {title}"


@pytest.mark.parametrize(("title", "name"), FIELDS)
def test_every_setting_is_described(title: str, name: str) -> None:
    assert len(SERVICES[title].model_fields[name].description or "") > 15


def test_the_settings_page_is_fresh() -> None:
    assert (DOCS / "settings.md").read_text() == settings_page(), "run `make docs`"


def test_the_environment_is_read_by_settings_alone() -> None:
    # The inherited socket, the address for Alembic as a program, the password that a script gives `create-admin`.
    allowed = {"libs/serve.py", "libs/migrations.py", "auth_service/__main__.py"}
    for path in sources("auth_service", "chat_service", "notify_service", "gateway", "libs"):
        name = str(path.relative_to(ROOT))
        if name not in allowed and "testing" not in name:
            assert "os.environ" not in path.read_text(), f"{name} reads the environment"
