"""`proxmox-mcp approvals`, as a command of its own beside whatever runs."""

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mqtt_bridge.approvals import Approvals, Grant, words
from mqtt_bridge.approvals.proofs import key_of
from mqtt_bridge.approvals.telling import make_code
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.settings import load
from proxmox_mcp.cli import parser
from tests.approvals.making import AGENT, SECRETS, SETTINGS, pending, request

LINES = ",".join(f"{name}:sha256:{key_of(secret)}" for name, secret in SECRETS.items())


async def command(folder: Path, *words: str, said: str = "", **more: str) -> tuple[int, str]:
    env = {"PATH": os.environ["PATH"], "STATE_DIR": str(folder), "APPROVERS": LINES, "HOME": str(folder)} | more
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "proxmox_mcp", "approvals", *words,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, cwd=folder,
    )  # fmt: skip
    out, _ = await process.communicate(said.encode())
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_approve_with_the_secret(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        waits = await pending(approvals)
        code, out = await command(tmp_path)
        assert code == 0
        assert waits.id[:8] in out
        code, out = await command(tmp_path, "show", waits.id[:8])
        assert "DELETE /nodes/pve1/qemu/100" in out
        code, out = await command(tmp_path, "approve", waits.id[:8], said=f"alice\n{SECRETS['bob']}\n")
        assert (code, "The proof is wrong" in out) == (1, True)
        code, out = await command(tmp_path, "approve", waits.id[:8], said=f"alice\n{SECRETS['alice']}\n")
        assert (code, "Approved by alice." in out) == (0, True)
        assert SECRETS["alice"] not in out
        assert await approvals.obtain(request(approvals), given=waits.id) == Grant(waits.id, "alice", "secret")
        code, out = await command(tmp_path, "approve", waits.id, said=f"bob\n{SECRETS['bob']}\n")
        assert (code, "was used already" in out) == (1, True)
        _, out = await command(tmp_path, "list", "--all", "--json")
        assert json.loads(out)["state"] == "used"


async def test_approve_with_a_code_and_from_a_file(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        waits = await pending(approvals)
        file = tmp_path / "proof"
        file.write_text((await make_code(approvals, waits.id, "bob")).lower())
        code, out = await command(tmp_path, "approve", waits.id, "--by", "bob", "--proof-file", str(file))
        assert (code, "Approved by bob." in out) == (0, True), out
        assert await approvals.obtain(request(approvals), given=waits.id) == Grant(waits.id, "bob", "code")


async def test_reject_needs_no_proof(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        waits = await pending(approvals)
        code, out = await command(tmp_path, "reject", waits.id, "--by", "carol")
        assert (code, "Rejected by carol." in out) == (0, True)
        with pytest.raises(PolicyError, match="rejected by carol"):
            await approvals.obtain(request(approvals, AGENT), given=waits.id)


async def test_a_new_approver_can_approve(tmp_path: Path) -> None:
    code, out = await command(tmp_path, "add-approver", "carol", APPROVERS="")
    assert code == 0
    secret = next(line.strip() for line in out.splitlines() if line.strip().startswith("apr_"))
    line = next(line.strip() for line in out.splitlines() if line.strip().startswith("APPROVERS="))
    key, _, value = line.partition("=")
    settings = load({key: value}, search=False, hosts=False).approval
    async with Approvals(tmp_path, settings) as approvals:
        waits = await pending(approvals)
        code, out = await command(tmp_path, "approve", waits.id, said=f"carol\n{secret}\n", APPROVERS=value)
        assert (code, "Approved by carol." in out) == (0, True)
    code, out = await command(tmp_path, "add-approver", "carol", APPROVERS=value)
    assert (code, "already" in out) == (1, True)
    code, out = await command(tmp_path, "add-approver", "a/b")
    assert (code, "needs a name" in out) == (1, True)


async def test_without_approvers_nobody_approves(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        waits = await pending(approvals)
        code, out = await command(tmp_path, "approve", waits.id, said="alice\nx\n", APPROVERS="")
        assert (code, "add-approver" in out) == (1, True)
        code, out = await command(tmp_path, "show", "ffffff")
        assert (code, "No approval begins" in out) == (1, True)


async def test_looking_in_the_wrong_place_makes_no_store_and_does_not_say_that_nothing_waits(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for given in ((), ("show", "ffffff"), ("approve", "ffffff")):
        code, out = await command(elsewhere.parent, *given, STATE_DIR=str(elsewhere))
        assert (code, "No service has kept approvals in" in out, "STATE_DIR" in out) == (1, True, True), out
    assert not elsewhere.exists()


async def test_a_short_beginning_is_called_short_and_a_line_fits_a_terminal(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        waits = await pending(approvals)
        code, out = await command(tmp_path, "show", waits.id[:4])
        assert (code, "too short" in out, "at least 6" in out) == (1, True, True), out
        _, out = await command(tmp_path)
        assert out.startswith(waits.id[:8])
        assert max(map(len, out.splitlines())) <= 80, out


async def test_the_target_is_named_once(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        (row,) = [await approvals.get((await pending(approvals)).id)]
        assert row
        assert words.headline(replace(row, title="Deletion of VM 1 (a)", target="VM 1 (a)")) == "Deletion of VM 1 (a)"
        assert words.headline(replace(row, title="Delete", target="VM 1 (a)")) == "Delete: VM 1 (a)"


async def test_a_secret_is_never_an_argument() -> None:
    taken = parser().parse_args(["approvals", "approve", "abc"])
    assert set(vars(taken)) >= {"proof_file", "by"}
    assert not {"secret", "code", "proof"} & set(vars(taken))
