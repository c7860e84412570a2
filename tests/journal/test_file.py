"""The file under the journal: its place, its rights, its version, and a disk that does not play along."""

import json
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.journal.file import file_system, refuse_network
from mqtt_bridge.journal.journal import Journal, open_reader
from mqtt_bridge.journal.schema import STEPS, migrate, version
from tests.journal.making import event, events

ROOT = Path(__file__).parents[2]


async def test_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    path.touch(0o644)
    path.chmod(0o644)
    async with Journal(path) as journal:
        await journal.commit([event(1)], {})
        rights = {p.name: stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert rights == {"journal.db": 0o600, "journal.db-wal": 0o600, "journal.db-shm": 0o600}


async def test_it_syncs_events_to_the_disk(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        await journal.commit([event(1)], {})
        assert await journal.rows("PRAGMA synchronous", []) == [(2,)], "FULL"
        assert await journal.rows("PRAGMA journal_mode", []) == [("wal",)]
        await journal.published([1])
        await journal.commit([event(2)], {})
        assert await journal.rows("PRAGMA synchronous", []) == [(2,)], "FULL again after a mark"


async def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with Journal(path) as journal:
        await journal.commit([event(1)], {})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {len(STEPS) + 1}")
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"newer version.*STATE_DIR"):
        async with Journal(path):
            pass
    assert path.read_bytes() == before
    with pytest.raises(JournalError, match="newer version"):
        open_reader(path)


async def test_a_later_step_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    async with Journal(path) as journal:
        await journal.commit(events(0, 5), {"A:b": "1"})
    later = (*STEPS, ("CREATE TABLE later_on (seq INTEGER REFERENCES events)", "CREATE INDEX d ON later_on (seq)"))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, str(path), later)
        assert version(connection) == len(later)
        assert connection.execute("SELECT count(*) FROM events").fetchone() == (5,)
        migrate(connection, str(path), later)
        assert connection.execute("SELECT count(*) FROM later_on").fetchone() == (0,)


def test_a_step_that_fails_changes_nothing(tmp_path: Path) -> None:
    wrong = (*STEPS, ("CREATE TABLE later_on (seq)", "CREATE TABLE events (again)"))
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrate(connection, "x.db", wrong)
        assert version(connection) == len(STEPS)
        tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert {"events", "cursors"} <= tables
        assert "later_on" not in tables


@pytest.mark.parametrize("damage", ["no database", "header", "pages"])
async def test_a_damaged_file_is_named_and_kept(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.db"
    async with Journal(path) as journal:
        await journal.commit([event(n, message="x" * 2000) for n in range(400)], {})
    whole = path.read_bytes()
    path.write_bytes(
        {
            "no database": b"hello " * 1000,
            "header": whole[:100] + b"\xff" * 3000 + whole[3100:],
            "pages": whole[:8192] + b"\x5a" * (len(whole) - 16384) + whole[-8192:],
        }[damage]
    )
    before = path.read_bytes()
    with pytest.raises(JournalError, match=r"damaged.*move .*journal\.db\* away.*recover"):
        async with Journal(path):
            pass
    assert path.read_bytes() == before


async def test_no_place_for_it_is_said(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match=r"cannot be opened: No such file.*STATE_DIR"):
        async with Journal(tmp_path / "nowhere" / "journal.db"):
            pass


async def test_a_file_that_another_holds_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.journal.file.BUSY", 0.1)
    path = tmp_path / "journal.db"
    async with Journal(path) as journal:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(JournalError, match="locked"):
                await journal.commit([event(1)], {})
            assert "locked" in journal.stats.problem
            other.execute("ROLLBACK")
        assert len(await journal.commit([event(1)], {})) == 1
        assert journal.stats.problem == ""


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_file_that_was_removed_accepts_nothing_more(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "journal.db"
    async with Journal(path) as journal:
        await journal.commit([event(1)], {})
        path.unlink()
        if replaced:
            path.touch()
        with pytest.raises(JournalError, match="removed or replaced"):
            await journal.commit([event(2)], {})


async def test_a_full_journal_file_accepts_nothing_by_halves(tmp_path: Path) -> None:
    async with Journal(tmp_path / "journal.db") as journal:
        await journal.commit(events(0, 10), {"A:b": "1"})
        pages = (await journal.rows("PRAGMA page_count", []))[0][0]
        await journal.rows(f"PRAGMA max_page_count = {pages + 2}", [])
        with pytest.raises(JournalError, match=r"full.*Free space"):
            await journal.commit([event(n, message="x" * 4000) for n in range(10, 60)], {"A:b": "2"})
        assert journal.stats.stored == 10
        assert "full" in journal.stats.problem
        assert await journal.cursor("A:b") == "1"
        assert "full" in journal.stats.problem, "that it can be read does not mean that it can be written"
        await journal.rows("PRAGMA max_page_count = 1000000", [])
        assert len(await journal.commit([event(n, message="x" * 4000) for n in range(10, 60)], {"A:b": "2"})) == 50
        assert journal.stats.problem == ""


ON_A_SMALL_DISK = """
import asyncio, json, os, sys
from pathlib import Path
from mqtt_bridge.events.intake import JournalError
from mqtt_bridge.journal.journal import Journal
from tests.journal.making import event

async def main(folder):
    told, n = [], 0
    (folder / "ballast").write_bytes(b"x" * 600_000)
    async with Journal(folder / "journal.db") as journal:
        failure = ""
        while not failure:
            batch = [event(i, message="x" * 2000) for i in range(n, n + 20)]
            try:
                told += await journal.commit(batch, {"A:b": str(n)})
                n += 20
            except JournalError as error:
                failure = str(error)
        cursor = await journal.cursor("A:b")
        (folder / "ballast").unlink()
        told += await journal.commit(batch, {"A:b": str(n)})
        problem = journal.stats.problem
    async with Journal(folder / "journal.db") as journal:
        there = [s.id for s in await journal.unpublished(0, 100_000)]
    print(json.dumps({"failure": failure, "cursor": cursor, "n": n, "same": sorted(there) == sorted(told),
                      "problem": problem}))

asyncio.run(main(Path(sys.argv[1])))
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode != 0,
    reason="needs a small disk of its own: a tmpfs in a namespace",
)
def test_a_full_disk_and_then_space_again(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(ON_A_SMALL_DISK, encoding="utf-8")
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=3m none {disk} && exec {sys.executable} {script} {disk}"
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", mount],
        check=False,
        capture_output=True,
        timeout=60,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "PATH": "/bin:/usr/bin:/sbin"},
    )
    assert done.returncode == 0, done.stderr.decode()
    said = json.loads(done.stdout)
    assert "full" in said["failure"] or "failed" in said["failure"]
    assert said["n"] >= 100
    assert said["cursor"] == str(said["n"] - 20)
    assert said["same"]
    assert said["problem"] == ""


MOUNTS = """\
/dev/vda / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
nas:/export /mnt/my\\040nas nfs4 rw 0 0
//nas/x /mnt/my\\040nas/deep cifs rw 0 0
/dev/sdb /mnt/my\\040nas/deep/local ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("/var/lib", "ext4"),
        ("/run/x", "tmpfs"),
        ("/runner", "ext4"),
        ("/mnt/my nas/state", "nfs4"),
        ("/mnt/my nas/deep", "cifs"),
        ("/mnt/my nas/deep/local/x", "ext4"),
    ],
)
def test_the_file_system_of_a_folder(tmp_path: Path, folder: str, kind: str) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(MOUNTS, encoding="utf-8")
    assert file_system(Path(folder), mounts) == kind
    if kind == "ext4":
        refuse_network(f"{folder}/journal.db", mounts)
    if kind in {"nfs4", "cifs"}:
        with pytest.raises(JournalError, match=rf"network file system \({kind}\).*STATE_DIR"):
            refuse_network(f"{folder}/journal.db", mounts)


def test_where_mounts_are_not_told_nothing_is_refused(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "none") == ""
