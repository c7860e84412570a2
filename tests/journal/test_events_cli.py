"""`mqtt-bridge events` as a user runs it: a process, beside a journal that is being written and one that is not."""

import asyncio
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mqtt_bridge.__main__ import parser
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.events.events_cli import run
from mqtt_bridge.journal.journal import FILE, Journal
from tests.journal.making import event, ids

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(state_dir: Path, *words: str, out: io.StringIO | None = None) -> list[str]:
    out = out or io.StringIO()
    assert run(state_dir, parser().parse_args(["events", *words]), out) == 0
    return out.getvalue().splitlines()


@pytest.fixture
async def state_dir(tmp_path: Path) -> Path:
    now = time.time()
    async with Journal(tmp_path / FILE) as journal:
        some = [event(n, at=now - 3600 * (10 - n)) for n in range(10)]
        worse = [
            event(20, at=now - 50 * 3600, severity="error"),
            event(21, at=now - 60, severity="critical", kind="node.offline", node="pve1", site="b", title="Node pve1"),
            event(22, at=now - 30, severity="error", kind="backup.job.failed", node="pve1", guest=100,
                  title="Backup\x1b[2J\nfailed \u202e", duplicate_of="x"),
        ]  # fmt: skip
        await journal.commit([*some, *worse], {})
    return tmp_path


def test_newest_last_on_plain_lines(state_dir: Path) -> None:
    lines = shown(state_dir)
    assert len(lines) == 12
    assert lines[0].split()[2:] == ["info", "lab", "guest.started", "Guest", "0", "started"]
    assert lines[-1].split()[2:5] == ["error", "lab/pve1/100", "backup.job.failed"]
    assert lines[-1].endswith("(again)")
    assert all(line.isprintable() for line in lines), "nothing that a terminal would obey"


def test_colours_on_a_terminal_only(state_dir: Path) -> None:
    lines = shown(state_dir, "--severity", "error", out=Terminal())
    assert [line.count("\033[") for line in lines] == [2, 2]
    assert not any("\033" in line for line in shown(state_dir, "--json", out=Terminal()))


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        (("--since", "72h"), [20, *range(10), 21, 22]),
        (("--since", "72h", "--until", "24h"), [20]),
        (("--severity", "error"), [21, 22]),
        (("--kind", "backup.*"), [22]),
        (("--node", "pve1"), [21, 22]),
        (("--guest", "100"), [22]),
        (("--site", "b"), [21]),
        (("--limit", "3"), [9, 21, 22]),
        (("--limit", "0", "--since", "2000-01-01"), [20, *range(10), 21, 22]),
        (("--kind", "nothing"), []),
    ],
)
def test_json_lines_of_what_was_asked_for(state_dir: Path, words: tuple[str, ...], numbers: list[int]) -> None:
    found = [json.loads(line)["id"] for line in shown(state_dir, "--json", *words)]
    assert found == ids([event(n) for n in numbers])


async def test_more_than_a_page(tmp_path: Path) -> None:
    async with Journal(tmp_path / FILE) as journal:
        await journal.commit([event(n, at=time.time() - 5000 + n) for n in range(1234)], {})
        assert len(shown(tmp_path, "--limit", "0")) == 1234
        assert len(shown(tmp_path, "--limit", "777")) == 777
        assert len(shown(tmp_path)) == 200


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--since", "yesterday"), "--since: give a time like"),
        (("--kind", "a b"), "--kind"),
        (("--guest", "-5"), "--guest"),
    ],
)
def test_wrong_options_are_named(state_dir: Path, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(BridgeError, match=message):
        shown(state_dir, *words)


def environment(state_dir: Path) -> dict[str, str]:
    host = {"PROXMOX_HOST": "127.0.0.1", "PROXMOX_USER": "a@pam", "PROXMOX_TOKEN_NAME": "t", "PROXMOX_TOKEN_VALUE": "v"}
    return {"PATH": os.environ["PATH"], "STATE_DIR": str(state_dir), "PYTHONUNBUFFERED": "1", **host}


def command(state_dir: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "mqtt-bridge", "events", *words],
        check=False, capture_output=True, text=True, timeout=30, cwd=state_dir, env=environment(state_dir),
    )  # fmt: skip


def test_no_journal_yet_is_said(tmp_path: Path) -> None:
    done = command(tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "There is no journal yet" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / FILE).exists()


def test_a_damaged_journal_is_said(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"nonsense " * 1000)
    done = command(tmp_path)
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_found_is_said(state_dir: Path) -> None:
    done = command(state_dir, "--site", "none")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No such events.\n")


async def test_it_reads_and_follows_while_the_bridge_writes(state_dir: Path) -> None:
    async with Journal(state_dir / FILE) as journal:
        process = await asyncio.create_subprocess_exec(
            BIN / "mqtt-bridge", "events", "--json", "--follow", "--severity", "error",
            stdout=subprocess.PIPE, cwd=state_dir, env=environment(state_dir),
        )  # fmt: skip
        assert process.stdout is not None
        try:
            async with asyncio.timeout(20):
                assert [json.loads(await process.stdout.readline())["id"] for _ in range(2)] == ids(
                    [event(21), event(22)]
                )
                await journal.commit([event(30, severity="error", at=1_000_000_000), event(31)], {})
                await journal.commit([event(32, severity="critical")], {})
                assert [json.loads(await process.stdout.readline())["id"] for _ in range(2)] == ids(
                    [event(30), event(32)]
                )
        finally:
            process.kill()
            await process.wait()
