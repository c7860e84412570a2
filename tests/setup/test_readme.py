"""The commands that README.md shows on control run, against the lab, one after the other."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from mqtt_bridge.approvals import Approvals
from mqtt_bridge.settings.approving import ApprovalSettings
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.setup.token import settings_of
from proxmox_mcp.tools import ALL

ROOT = Path(__file__).resolve().parents[2]
SECTION = re.compile(r"### Control\n(.*?)\n### ", re.DOTALL)
BLOCK = re.compile(r"```\n(.*?)```", re.DOTALL)


def section() -> str:
    found = SECTION.search((ROOT / "README.md").read_text(encoding="utf-8"))
    assert found
    return found[1]


def settings_lines() -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for block in BLOCK.findall(section()) for line in block.splitlines())
    pairs = (line.partition("=") for line in lines if re.match(r"[A-Z_]+=", line))
    return {key: value for key, _, value in pairs}


def commands() -> list[list[str]]:
    blocks = [line for block in BLOCK.findall(section()) for line in block.splitlines()]
    inline = re.findall(r"`(proxmox-mcp[^`]+)`", section().replace("\n", " "))
    return [shlex.split(line) for line in (*blocks, *inline) if line.startswith("proxmox-mcp ")]


def test_the_settings_are_settings() -> None:
    found = settings_of({**settings_lines(), "STATE_DIR": "/nonexistent"}, Path(os.devnull))
    assert found.permission.mcp_allow == "change"
    assert found.permission.mqtt_allow == "operate"
    assert found.mcp.toolsets <= {tool.toolset for tool in ALL}


async def test_the_commands_run(tmp_path: Path) -> None:
    shown = commands()
    assert {words[1] for words in shown} == {"token", "approvals", "setup", "audit"}
    async with Approvals(tmp_path / "state", ApprovalSettings()):
        pass  # a service has run here
    async with Lab(LabOptions(pvestatd_interval=0)) as lab:
        env = {**os.environ, **lab.env, **settings_lines(), "STATE_DIR": str(tmp_path / "state")}
        env |= {"MCP_TOKENS_FILE": "tokens.json", "PYTHONPATH": str(ROOT)}
        for words in shown:
            ran = subprocess.run(
                [sys.executable, "-m", "proxmox_mcp", *words[1:]],
                cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False, input="",
            )  # fmt: skip
            if words[1:3] == ["approvals", "approve"]:
                assert ran.returncode == 1, ran
                assert "3f2a91c0" in ran.stderr
                continue
            assert ran.returncode == 0, (words, ran.stderr)
            if words[1:3] == ["approvals", "add-approver"]:
                env["APPROVERS"] = re.findall(r"alice:sha256:[0-9a-f]{64}", ran.stdout + ran.stderr)[0]


@pytest.mark.parametrize("name", ["security.md", "approvals.md", "migrating.md", "http.md"])
def test_what_it_points_to_is_there(name: str) -> None:
    assert (ROOT / "docs" / name).is_file()
