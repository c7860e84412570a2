"""What most tests of settings begin with: a host in the short form, loading, and expecting a report."""

from collections.abc import Callable
from pathlib import Path

import pytest

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.settings import Settings, load

SHORT = {
    "PROXMOX_HOST": "192.0.2.10",
    "PROXMOX_USER": "mcp@pve",
    "PROXMOX_TOKEN_NAME": "mcp",
    "PROXMOX_TOKEN_VALUE": "11111111-2222-3333-4444-555555555555",
}


def credentials(prefix: str, host: str = "192.0.2.11") -> dict[str, str]:
    return {
        f"{prefix}HOST": host,
        f"{prefix}USER": "mcp@pve",
        f"{prefix}TOKEN_NAME": "mcp",
        f"{prefix}TOKEN_VALUE": "11111111-2222-3333-4444-555555555555",
    }


Loader = Callable[..., Settings]
Reporter = Callable[..., tuple[str, ...]]


@pytest.fixture
def short() -> dict[str, str]:
    return dict(SHORT)


@pytest.fixture
def host() -> Callable[..., dict[str, str]]:
    return credentials


@pytest.fixture
def given() -> Loader:
    """Settings from the environment alone: the short form and what is passed."""

    def given(**more: str) -> Settings:
        return load({**SHORT, **more}, search=False)

    return given


@pytest.fixture
def alone() -> Loader:
    """Settings from nothing but what is passed."""

    def alone(environ: dict[str, str]) -> Settings:
        return load(environ, search=False)

    return alone


@pytest.fixture
def problems() -> Reporter:
    """The report that loading what is passed must end in."""

    def problems(environ: dict[str, str]) -> tuple[str, ...]:
        with pytest.raises(SettingsError) as caught:
            load(environ, search=False)
        return caught.value.problems

    return problems


@pytest.fixture
def env_file(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / ".env"
        path.write_text(text, encoding="utf-8")
        return path

    return write
