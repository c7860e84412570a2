"""The exercise on the lab: every tool works once and is refused once, and nothing is left; also when it is cut off."""

import argparse
import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.audit.verify import verify
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.settings import load
from proxmox_mcp.cli import main
from proxmox_mcp.exercise import command
from proxmox_mcp.exercise.course import COURSE, Try
from proxmox_mcp.exercise.ground import MARK, survey
from proxmox_mcp.exercise.walk import Walk
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.tools import ALL

NEEDS_A_BRIDGE = {"send_notification"}  # what works of it: tests/mcp/test_send_notification.py
UNDOES = {"delete_guest"}  # works when all is taken away


def options(**more: Any) -> argparse.Namespace:
    base: dict[str, Any] = dict.fromkeys(
        ("yes_i_mean", "env_file", "node", "storage", "pool", "image_url", "image_sha256", "image_storage")
    )
    return argparse.Namespace(**{**base, "json": True, "speed": 50.0, **more})


def test_the_course_has_every_tool_to_work_and_to_be_refused() -> None:
    works = {one.tool for one in COURSE if one.expect in {"ok", "either"}} | UNDOES
    names = {tool.name for tool in ALL}
    assert names <= works, "add what works of it to proxmox_mcp/exercise/course.py"
    assert {one.tool for one in COURSE if one.expect == "refused"} == names


async def test_every_tool_on_the_lab(capsys: pytest.CaptureFixture[str]) -> None:
    code = await command.exercise(options())
    told = json.loads(capsys.readouterr().out)
    assert [line for line in told["lines"] if not line["good"]] == []
    assert (told["left"], told["not_called"], told["not_in_schema"]) == ([], [], [])
    came = {(line["tool"], line["came"]) for line in told["lines"]}
    assert {tool.name for tool in ALL} - {tool for tool, how in came if how == "ok"} == NEEDS_A_BRIDGE
    assert {tool.name for tool in ALL} == {tool for tool, how in came if how == "refused"}
    assert not any(how == "left out" for _, how in came)
    assert code == 0


@pytest.fixture
async def walk() -> AsyncIterator[tuple[Walk, Lab]]:
    async with AsyncExitStack() as stack:
        settings, lab = await command._place(options(), stack)
        assert lab is not None
        yield_to: asyncio.Queue[Walk] = asyncio.Queue()
        done = asyncio.Event()

        async def hold() -> None:  # the scopes of the clients must be left by the task that entered them
            async with command.opened(settings, options()) as found:
                yield_to.put_nowait(found)
                await done.wait()

        holding = asyncio.create_task(hold())
        yield await yield_to.get(), lab
        done.set()
        await holding


def ours(lab: Lab) -> list[int]:
    return [guest.vmid for guest in lab.world.sorted_guests() if MARK in guest.name or guest.vmid >= 99_000]


async def test_only_the_new_ids_can_be_reached(walk: tuple[Walk, Lab]) -> None:
    going, lab = walk
    before = {guest.vmid for guest in lab.world.sorted_guests()}
    assert not before & set(going.ground.ids)
    tried = Try("execute_vm_command", "another guest", lambda _: {"vmid": 100, "command": "stop"}, "refused")
    await going.attempt(tried)
    assert "PROXMOX_VMID_ALLOWLIST" in going.lines[0].said
    assert lab.guest(100).running


async def test_an_error_in_the_middle_leaves_nothing(walk: tuple[Walk, Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    going, lab = walk
    real = going.attempt

    async def breaking(one: Try) -> None:
        if one.tool == "run_datastore_job":
            raise BridgeError("the network is gone")
        await real(one)

    monkeypatch.setattr(going, "attempt", breaking)
    assert await command.walked(going) == []
    assert [line.came for line in going.lines if "error" in line.what] == ["BridgeError"]
    assert ours(lab) == []


async def test_what_cannot_be_taken_away_is_told(walk: tuple[Walk, Lab], monkeypatch: pytest.MonkeyPatch) -> None:
    going, lab = walk
    monkeypatch.setattr("proxmox_mcp.exercise.walk.BETWEEN", 0.01)
    made = next(one for one in COURSE if one.tool == "create_vm")
    await going.attempt(made)
    lab.guest(going.ground.vm).config["protection"] = 1
    left = await going.tidy()
    assert left == [f"guest {going.ground.vm}"]
    assert command._told(going, left, [], as_json=True) == 1


async def test_ctrl_c_takes_away_what_was_made() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxmox_mcp", "exercise", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    lines = []
    async with asyncio.timeout(90):
        while line := (await process.stdout.readline()).decode():
            lines.append(line)
            if line.startswith("add_disk") and not any("stopped" in one for one in lines):
                process.send_signal(signal.SIGINT)
        assert await process.wait() == 1
    text = "".join(lines)
    assert "stopped" in text
    assert "Nothing was left behind." in text
    assert text.count("delete_guest") == 2
    assert not any(line.startswith("create_backup") for line in lines)


def test_a_real_site_must_be_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for key, value in {"PROXMOX_HOST": "127.0.0.1:1", "PROXMOX_USER": "a@pve", "PROXMOX_TOKEN_NAME": "t",
                       "PROXMOX_TOKEN_VALUE": "0b5e5d5c-6f2b-4a55-8f0f-0f6d0a4b7c11"}.items():  # fmt: skip
        monkeypatch.setenv(key, value)
    assert main(["exercise", "--yes-i-mean", "another"]) != 0
    assert "no Proxmox VE site 'another'" in capsys.readouterr().err


async def test_ids_that_are_taken_are_left_alone(walk: tuple[Walk, Lab]) -> None:
    going, lab = walk
    lab.world.guests[99_002] = replace(lab.guest(121), vmid=99_002)
    again = await survey(going.api, {})
    assert set(again.ids) == set(range(99_005, 99_010))


async def test_a_real_site_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As on a cluster of somebody: one node, no Backup Server, an audit trail in STATE_DIR."""
    async with Lab(LabOptions(nodes=1, guests=3, pbs=0, speed=50, pvestatd_interval=0)) as lab:
        more = {"POLL_INTERVAL": "1", "PROXMOX_RATE_LIMIT": "100000", "STATE_DIR": str(tmp_path)}
        for key, value in {**lab.env, **more}.items():
            monkeypatch.setenv(key, value)
        before = [guest.vmid for guest in lab.world.sorted_guests()]
        (tmp_path / ".env").touch()
        [site] = [s.slug for s in load(dict(lab.env), search=False).sites]
        code = await command.exercise(options(yes_i_mean=site, env_file=tmp_path / ".env"))
        told = json.loads(capsys.readouterr().out)
        assert [line for line in told["lines"] if not line["good"]] == []
        assert (code, told["left"]) == (0, [])
        assert {line["tool"] for line in told["lines"] if line["came"] == "left out"} == {
            "download_image", "get_datastores", "migrate_guest", "run_datastore_job",
        }  # fmt: skip
        assert [guest.vmid for guest in lab.world.sorted_guests()] == before
        assert (lab.violations, lab.unsimulated) == ([], [])
    assert verify(tmp_path / "audit.jsonl").ok
