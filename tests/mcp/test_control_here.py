"""Control in a process that starts no bridge: what is opened, and what becomes of it where nothing can be kept."""

import dataclasses
import logging
from pathlib import Path

import pytest

from mqtt_bridge.settings import Settings, load
from mqtt_bridge.topics import Topics
from proxmox_mcp.control import deciding

HOST = {
    "PROXMOX_HOST": "127.0.0.1",
    "PROXMOX_USER": "mcp@pve",
    "PROXMOX_TOKEN_NAME": "t",
    "PROXMOX_TOKEN_VALUE": "0b5e5d5c-6f2b-4a55-8f0f-0f6d0a4b7c11",
}


def settings(state_dir: Path, **more: str) -> Settings:
    made = load({**HOST, "STATE_DIR": str(state_dir), **more}, None)
    return dataclasses.replace(made, general=dataclasses.replace(made.general, state_dir=state_dir))


async def test_who_only_reads_opens_no_store(tmp_path: Path) -> None:
    async with deciding(settings(tmp_path), None, Topics("proxmox")) as approvals:
        assert approvals is None
    assert not list(tmp_path.glob("approvals*"))


async def test_who_controls_has_a_store(tmp_path: Path) -> None:
    async with deciding(settings(tmp_path, MCP_ALLOW="change"), None, Topics("proxmox")) as approvals:
        assert approvals is not None
        assert await approvals.pending() == []


async def test_a_state_dir_that_cannot_be_written_takes_approvals_away_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    here = settings(tmp_path / "file" / "state", MCP_ALLOW="change")
    with caplog.at_level(logging.WARNING):
        async with deciding(here, None, Topics("proxmox")) as approvals:
            assert approvals is None
    assert "Nothing can be approved here" in caplog.text
