"""One approval: asked for, decided, used once; bound to what it was given for; over when its time is."""

import asyncio
import json
import os
import re
import sqlite3
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from mqtt_bridge.approvals import Decider, Grant, Pending
from mqtt_bridge.approvals.database import FILE, ApprovalStoreError, Database
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from mqtt_bridge.secret import Secret
from tests.approvals.making import AGENT, SETTINGS, Clock, Desk, pending, request

ALICE = Decider("alice", "secret")


def audited(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_text().splitlines()]


async def test_asked_for_approved_and_used_once(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        asked = request(approvals)
        waits = await approvals.obtain(asked)
        assert isinstance(waits, Pending)
        assert re.fullmatch(r"[0-9a-f]{32}", waits.id)  # 128 bits
        assert waits.approvers == ("alice", "bob")
        assert await approvals.obtain(asked, given=waits.id) == waits
        await approvals.decide(waits.id, "approve", ALICE)
        assert await approvals.obtain(asked, given=waits.id) == Grant(waits.id, "alice", "secret")
        with pytest.raises(PolicyError, match="used already"):
            await approvals.obtain(asked, given=waits.id)
    events = [row["event"] for row in audited(tmp_path)]
    assert events == ["approval.requested", "approval.approved"]


async def test_the_store_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    async with Desk(folder).approvals() as approvals:
        await pending(approvals)
        for file in folder.glob(f"{FILE}*"):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


BRIEF_VISIT = """
import asyncio, pathlib, sys
from mqtt_bridge.approvals.database import Database

async def visit():
    async with Database(pathlib.Path(sys.argv[1])) as database:
        await database.write(lambda c: c.execute("INSERT INTO command_ids VALUES ('lab', 'visit', 0)").close())

asyncio.run(visit())
"""


async def test_a_visit_of_another_process_leaves_the_store_to_those_who_use_it(tmp_path: Path) -> None:
    """`serve` has it open twice: opening it again must not take the locks of the first from it."""

    async def ids(database: Database) -> list[tuple[str]]:
        return await database.read(lambda c: c.execute("SELECT id FROM command_ids ORDER BY id").fetchall())

    async with Database(tmp_path) as first, Database(tmp_path) as second:
        await first.write(lambda c: c.execute("INSERT INTO command_ids VALUES ('lab', 'a', 0)").close())
        command = [sys.executable, "-c", BRIEF_VISIT, str(tmp_path)]
        visit = await asyncio.create_subprocess_exec(*command, stderr=subprocess.PIPE)
        assert (await visit.communicate())[1] == b""
        await second.write(lambda c: c.execute("INSERT INTO command_ids VALUES ('lab', 'b', 0)").close())
        async with Database(tmp_path) as third:
            assert await ids(first) == await ids(second) == await ids(third) == [("a",), ("b",), ("visit",)]
    async with Database(tmp_path) as later:
        assert await ids(later) == [("a",), ("b",), ("visit",)]


async def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ApprovalStoreError, match="symbolic links"):
        async with Database(tmp_path):
            pass
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "facts",
    [
        {"site": "other"},
        {"principal": "somebody"},
        {"action": "guest.stop"},
        {"vmid": 101},
        {"node": "pve2"},
        {"name": "web"},
        {"config_digest": "abc"},
        {"args": {"purge": True}},
        {"chosen": {"newid": 105}},
        {"steps": [("DELETE", ("nodes",), {"password": Secret("x")})]},
    ],
)
async def test_any_difference_makes_it_stale(tmp_path: Path, facts: dict[str, object]) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        asked = request(approvals)
        waits = await pending(approvals)
        await approvals.decide(waits.id, "approve", ALICE)
        base = {"site": "lab", "principal": AGENT.name, "action": "guest.delete", "vmid": 100}
        other = replace(asked, digest=approvals.digest({**base, **facts}))
        assert approvals.digest(base) == asked.digest
        with pytest.raises(PolicyError, match="stale"):
            await approvals.obtain(other, given=waits.id)
        with pytest.raises(PolicyError, match="stale"):  # and stays so, also when all is as before again
            await approvals.obtain(asked, given=waits.id)


async def test_a_digest_tells_secrets_types_and_order_apart(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        told: list[dict[str, object]] = [
            {"a": 1}, {"a": True}, {"a": "1"}, {"a": 1.5}, {"a": None}, {"a": [1]}, {"a": ["1"]}, {"a": {"1": 1}},
            {"a": Secret("1")}, {"a": Secret("2")}, {"a": [1, 2]}, {"a": [2, 1]}, {"b": 1}, {"a": frozenset({1})},
        ]  # fmt: skip
        assert len({approvals.digest(facts) for facts in told}) == len(told)
        assert approvals.digest({"a": 1, "b": {2, 3}}) == approvals.digest({"b": {3, 2}, "a": 1})
        with pytest.raises(TypeError):
            approvals.digest({"a": object()})
    async with Desk(tmp_path / "another").approvals() as others:
        assert others.digest({"a": 1}) != approvals.digest({"a": 1})


async def test_it_belongs_to_whoever_asked(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        waits = await pending(approvals)
        await approvals.decide(waits.id, "approve", ALICE)
        for other in (replace(AGENT, name="other"), replace(AGENT, channel="stdio")):
            with pytest.raises(PolicyError, match="somebody else"):
                await approvals.obtain(replace(request(approvals), principal=other), given=waits.id)
            with pytest.raises(PolicyError, match="somebody else"):
                await approvals.chosen(waits.id, other)
        assert await approvals.chosen(waits.id, AGENT) == {"upid_hint": 7}
        with pytest.raises(PolicyError, match="no such approval"):
            await approvals.obtain(request(approvals), given="0" * 32)


@pytest.mark.parametrize("decided", [True, False])
async def test_it_expires_by_the_clock_of_its_making(tmp_path: Path, decided: bool) -> None:
    clock = Clock()
    async with Desk(tmp_path, replace(SETTINGS, timeout=60), clock).approvals() as approvals:
        waits = await pending(approvals)
        if decided:
            await approvals.decide(waits.id, "approve", ALICE)
    clock.now += 61
    async with Desk(tmp_path, replace(SETTINGS, timeout=3600), clock).approvals() as later:  # no longer one by then
        with pytest.raises(PolicyError, match="expired"):
            await later.obtain(request(later), given=waits.id)
        with pytest.raises(PolicyError, match="expired"):
            await later.decide(waits.id, "approve", ALICE)
        found = await later.get(waits.id)
        assert found
        assert found.state == "expired"
    assert "approval.expired" in [row["event"] for row in audited(tmp_path)]


async def test_a_rejected_one_is_never_used(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        waits = await pending(approvals)
        await approvals.decide(waits.id, "reject", Decider("anybody at all", "claimed"))
        with pytest.raises(PolicyError, match="rejected by anybody at all"):
            await approvals.obtain(request(approvals), given=waits.id)
        with pytest.raises(PolicyError, match="was rejected"):
            await approvals.decide(waits.id, "approve", ALICE)
    assert audited(tmp_path)[1]["by"] == "anybody at all"
    assert audited(tmp_path)[1]["how"] == "claimed"


@pytest.mark.parametrize(
    ("decider", "why"),
    [
        (Decider("alice", "claimed"), "needs an approver's proof"),
        (Decider("alice", "elicitation"), "needs an approver's proof"),
        (Decider("mallory", "secret"), "no approver"),
    ],
)
async def test_who_may_not_approve(tmp_path: Path, decider: Decider, why: str) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        waits = await pending(approvals)
        with pytest.raises(PolicyError, match=why):
            await approvals.decide(waits.id, "approve", decider)
        found = await approvals.get(waits.id)
        assert found
        assert found.state == "pending"
    refused = audited(tmp_path)[-1]
    assert refused["event"] == "approval.refused"
    assert refused["who"] == decider.name


@pytest.mark.parametrize(
    "principal",
    [
        Principal("alice", "http", "exec"),
        Principal("Alice", "mqtt", "exec"),
        Principal("mqtt:alice", "mqtt", "exec"),
        Principal("discord:alice (5)", "discord", "exec"),
        Principal("discord:somebody (80351110224678912)", "discord", "exec"),
    ],
)
async def test_the_requester_is_never_the_approver(tmp_path: Path, principal: Principal) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        waits = await pending(approvals, principal)
        for how in ("secret", "code", "hmac", "broker", "discord"):
            with pytest.raises(PolicyError, match="requester is never the approver"):
                await approvals.decide(waits.id, "approve", Decider("alice", how))
        await approvals.decide(waits.id, "approve", Decider("bob", "secret"))
        assert isinstance(await approvals.obtain(request(approvals, principal), given=waits.id), Grant)


async def test_a_decision_is_about_the_digest_that_was_seen(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        waits = await pending(approvals)
        with pytest.raises(PolicyError, match="another digest"):
            await approvals.decide(waits.id, "approve", ALICE, digest="0" * 64)
        await approvals.decide(waits.id, "approve", ALICE, digest=request(approvals).digest)


RACER = """
import asyncio, sys, time
from pathlib import Path
from mqtt_bridge.approvals import Approvals, Grant
from mqtt_bridge.errors import PolicyError
from tests.approvals.making import SETTINGS, request, Clock

async def main(folder, given, start):
    async with Approvals(Path(folder), SETTINGS, clock=Clock()) as approvals:
        asked = request(approvals)
        while time.time() < float(start):
            pass
        try:
            print("won" if isinstance(await approvals.obtain(asked, given=given), Grant) else "pending")
        except PolicyError as error:
            print(error.message)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_of_processes_that_race_to_use_one_exactly_one_wins(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        waits = await pending(approvals)
        await approvals.decide(waits.id, "approve", ALICE)
    start = __import__("time").time() + 4
    command = [sys.executable, "-c", RACER, str(tmp_path), waits.id, str(start)]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    racers = [
        await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        for _ in range(4)
    ]
    said = [(await racer.communicate()) for racer in racers]
    words = [out.decode().strip() for out, _ in said]
    assert words.count("won") == 1, said
    assert words.count("The approval was used already.") == 3, said


async def test_of_two_decisions_at_once_one_counts(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as one, Desk(tmp_path).approvals() as other:
        for vmid in range(10):
            waits = await pending(one, vmid=vmid)
            came = await asyncio.gather(
                one.decide(waits.id, "approve", ALICE),
                other.decide(waits.id, "reject", Decider("bob", "claimed")),
                return_exceptions=True,
            )
            assert sum(isinstance(each, PolicyError) for each in came) == 1, came


async def test_a_newer_or_damaged_store_is_refused(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals():
        pass
    connection = sqlite3.connect(tmp_path / FILE)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(ApprovalStoreError, match="newer version"):
        async with Desk(tmp_path).approvals():
            pass
    for file in tmp_path.glob(f"{FILE}*"):
        file.unlink()
    (tmp_path / FILE).write_bytes(b"this is no database at all" * 100)
    with pytest.raises(ApprovalStoreError, match=r"damaged.*move .*approvals\.db\* away"):
        async with Desk(tmp_path).approvals():
            pass


async def test_what_cannot_be_audited_is_not_decided(tmp_path: Path) -> None:
    async with Desk(tmp_path).approvals() as approvals:
        waits = await pending(approvals)
        audit = tmp_path / "audit.jsonl"
        audit.unlink()
        audit.mkdir()
        with pytest.raises(Exception, match="audit file"):
            await approvals.decide(waits.id, "approve", ALICE)
        audit.rmdir()
        found = await approvals.get(waits.id)
        assert found
        assert found.state == "pending"
