"""The source tree, as the architecture tests walk it."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("auth_service", "chat_service", "notify_service", "gateway", "libs")


def sources(*packages: str) -> list[Path]:
    return sorted(p for name in packages for p in (ROOT / name).rglob("*.py") if "versions" not in p.parts)
