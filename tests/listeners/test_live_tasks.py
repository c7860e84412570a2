"""Tasks: each start and each end once, whatever was away meanwhile."""

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from mqtt_bridge.events.intake import IntakeFullError, JournalError
from mqtt_bridge.proxmox import task_archive
from mqtt_bridge.proxmox.changes import GuestChanged
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.lab.build import ROOT_SELF
from tests.listeners.live_support import NEVER, Bench, bench

FAST = LabOptions(
    nodes=3, guests=24, seed=1, speed=20, pvestatd_interval=0, auth_delay=0.05, dead_node_delay=0.05,
    proxy_timeout=0.5, request_log=100_000,
)  # fmt: skip


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(FAST) as running:
        yield running


@pytest.fixture
async def made(lab: Lab) -> AsyncIterator[Bench]:
    async with bench(lab) as bench_:
        yield bench_


def upids(bench_: Bench, *kinds: str) -> list[str]:
    return sorted(r.verdict.upid or "" for r in bench_.taken.reports if r.verdict.kind in kinds)


async def test_started_and_finished(made: Bench) -> None:
    async with made.watching():
        task = made.start("pve1", "imgcopy")
        started = await made.told("task.imgcopy.started")
        assert (started.verdict.severity, started.verdict.ok, started.at) == ("info", None, task.starttime)
        made.finish(task)
        finished = await made.told("task.imgcopy.finished")
        assert (finished.verdict.ok, finished.verdict.upid, finished.verdict.node) == (True, task.upid, "pve1")
        assert finished.identity != started.identity


async def test_warnings_and_failures_with_the_end_of_the_log(made: Bench) -> None:
    guest = made.guest()
    async with made.watching():
        made.past("pve2", "vzdump", 1, status="WARNINGS: 2", ident=str(guest.vmid))
        warned = await made.told("task.vzdump.warning")
        assert (warned.verdict.severity, warned.verdict.ok, warned.verdict.guest) == ("warning", True, guest.vmid)
        task = made.start("pve2", "qmclone", str(guest.vmid))
        task.say(*(f"line {n}" for n in range(700)))
        made.finish(task, "no space left")
        failed = await made.told("task.qmclone.failed")
        assert (failed.verdict.severity, failed.verdict.ok) == ("error", False)
        assert "no space left" in failed.verdict.title
        assert failed.verdict.message.endswith("TASK ERROR: no space left")
        assert "line 698" in failed.verdict.message
        assert "line 1\n" not in failed.verdict.message


async def test_what_is_only_noise_is_not_told(made: Bench) -> None:
    async with made.watching():
        made.start("pve1", "vncproxy", "100")
        made.past("pve1", "termproxy", 1, status="connection timed out")
        made.past("pve1", "aptupdate", 1)
        made.past("pve1", "aptupdate", 1, status="command 'apt-get update' failed: exit code 100")
        await made.told("task.aptupdate.failed")
        await asyncio.sleep(0.5)
        assert made.taken.kinds == ["task.aptupdate.failed"]


async def test_a_task_that_ran_at_the_very_first_start_is_followed(made: Bench) -> None:
    task = made.start("pve1", "vzdump")
    made.past("pve1", "qmstart", 3)
    await made.polls(3)
    async with made.watching():
        await made.polls(3)
        assert made.taken.reports == []
        made.finish(task, "job errors")
        await made.told("task.vzdump.failed")
    assert made.taken.kinds == ["task.vzdump.failed"]


async def test_what_ended_and_what_still_ran_while_the_watcher_was_away(made: Bench) -> None:
    async with made.watching():
        before = [made.start("pve1", "vzdump"), made.start("pve2", "vzdump"), made.start("pve3", "imgcopy")]
        await made.until(lambda: len(upids(made, "task.vzdump.started", "task.imgcopy.started")) == 3)
    made.finish(before[0])
    made.finish(before[1], "job errors")
    meanwhile = [*made.past("pve1", "qmsnapshot", 40), *made.past("pve3", "qmsnapshot", 7, status="failed")]
    still = made.start("pve2", "qmclone")
    async with made.watching():
        await made.told("task.qmclone.started")
        await made.until(lambda: len(upids(made, "task.qmsnapshot.finished", "task.qmsnapshot.failed")) == 47)
        assert upids(made, "task.vzdump.finished", "task.vzdump.failed") == sorted([before[0].upid, before[1].upid])
        made.finish(before[2])
        made.finish(still)
        await made.told("task.imgcopy.finished")
        await made.told("task.qmclone.finished")
    assert upids(made, "task.qmsnapshot.finished", "task.qmsnapshot.failed") == sorted(t.upid for t in meanwhile)
    assert len(made.taken.of("task.qmsnapshot.started")) == 0, "a start is old news once it has ended"


async def test_a_task_that_ran_for_days_while_the_watcher_was_away(made: Bench) -> None:
    """`since` filters on start time: the cursor goes back to the oldest that was open, and tells nothing in between."""
    world = made.lab.world
    old = world.tasks.create("pve1", "qmigrate", "100", ROOT_SELF, at=world.now() - 3 * 86400)
    for hours in range(48, 1, -1):
        past = world.tasks.create("pve1", "qmsnapshot", "100", ROOT_SELF, at=world.now() - hours * 3600)
        world.tasks.finish(past, "OK", at=world.now() - hours * 3600 + 5)
    async with made.watching():
        await made.polls(3)
    made.finish(old, "migration aborted")
    async with made.watching():
        await made.told("task.qmigrate.failed")
        await made.polls(3)
    assert made.taken.kinds == ["task.qmigrate.failed"]
    assert json.loads(made.taken.cursors["tasks/lab/pve1"])["open"] == []


async def test_500_tasks_between_two_looks(made: Bench) -> None:
    async with made.watching():
        made.past("pve1", "qmsnapshot", 1)
        await made.told("task.qmsnapshot.finished")
        burst = made.past("pve1", "qmclone", 470) + made.past("pve1", "qmclone", 30, status="disk full")
        await made.until(lambda: len(upids(made, "task.qmclone.finished", "task.qmclone.failed")) == 500, 20)
    assert upids(made, "task.qmclone.finished", "task.qmclone.failed") == sorted(t.upid for t in burst)
    assert all(r.verdict.message for r in made.taken.of("task.qmclone.failed"))
    assert made.taken.repeated == 0


async def test_pages_of_the_archive(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_archive, "PAGE", 50)
    async with made.watching():
        await made.polls(2)
    missed = made.past("pve2", "qmsnapshot", 333)
    made.lab.requests.clear()
    async with made.watching():
        await made.until(lambda: len(made.taken.reports) == 333, 20)
        await made.polls(3)
        assert made.lab.requests.count("GET", "*/nodes/pve2/tasks") == 7
    assert upids(made, "task.qmsnapshot.finished") == sorted(t.upid for t in missed)


async def test_a_node_that_was_away(made: Bench) -> None:
    async with made.watching():
        running = made.start("pve2", "vzdump")
        await made.told("task.vzdump.started")
        made.lab.fault("node-down", "pve2")
        await made.told("node.offline")
        missed = made.past("pve2", "qmsnapshot", 60)
        if running.running:
            made.finish(running, "unexpected status")
        other = made.past("pve1", "qmclone", 1)
        await made.told("task.qmclone.finished")
        made.lab.fault("node-up", "pve2")
        await made.until(lambda: len(upids(made, "task.qmsnapshot.finished")) == 60, 20)
        await made.told("task.vzdump.failed")
    assert upids(made, "task.qmsnapshot.finished") == sorted(t.upid for t in missed)
    assert upids(made, "task.qmclone.finished") == [other[0].upid]


async def test_an_api_that_was_away(made: Bench) -> None:
    async with made.watching():
        running = made.start("pve3", "vzdump")
        await made.told("task.vzdump.started")
        made.lab.fault("api-error", 500)
        await made.until(lambda: made.inventory.pulse.status == "offline")
        missed = [t for node in ("pve1", "pve2", "pve3") for t in made.past(node, "qmsnapshot", 80)]
        made.finish(running)
        made.lab.fault("api-error", 0)
        await made.until(lambda: len(upids(made, "task.qmsnapshot.finished")) == 240, 20)
        await made.told("task.vzdump.finished")
    assert upids(made, "task.qmsnapshot.finished") == sorted(t.upid for t in missed)
    assert made.taken.repeated == 0


async def test_a_long_task_that_younger_ones_have_displaced(made: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.live_tasks.ASK_EVERY", 0.3)
    async with made.watching():
        long = made.start("pve1", "vzdump")
        await made.told("task.vzdump.started")
        for _ in range(4):
            made.past("pve1", "qmsnapshot", 10)
            await made.polls(3)
        await made.until(lambda: len(made.taken.of("task.qmsnapshot.finished")) == 40)
        assert json.loads(made.taken.cursors["tasks/lab/pve1"])["open"] == [long.upid], "it still runs"
        made.lab.requests.clear()
        made.finish(long)
        await made.told("task.vzdump.finished")
        assert made.lab.requests.count("GET", "*/nodes/pve1/tasks") == 1


async def test_a_quiet_host_is_not_asked_for_its_archive(made: Bench) -> None:
    """The newest task runs, everything else ended long ago: nothing is missing, at every look and after a restart."""
    made.start("pve1", "vzdump")
    await made.polls(2)
    async with made.watching():
        await made.polls(2)
    async with made.watching():
        made.lab.requests.clear()
        await made.polls(8)
        assert made.lab.requests.count("GET", "*/nodes/*/tasks") <= 8, "those of the Backup Server"
        assert made.lab.requests.count("GET", "*/nodes/pve1/tasks") == 0


async def test_restarts_tell_each_happening_once(made: Bench) -> None:
    expected = []
    for _ in range(6):
        async with made.watching():
            expected += made.past("pve1", "qmsnapshot", 5)
            await asyncio.sleep(0.2)
        expected += made.past("pve2", "qmsnapshot", 5)
    async with made.watching():
        await made.until(lambda: len(made.taken.reports) == 60)
        await made.polls(3)
    assert upids(made, "task.qmsnapshot.finished") == sorted(t.upid for t in expected)


@pytest.mark.parametrize("trouble", [IntakeFullError("full"), JournalError("disk full")])
async def test_an_intake_that_refuses_for_a_while_loses_nothing(
    made: Bench, trouble: IntakeFullError | JournalError
) -> None:
    victim, mover = made.guest(), made.guest("lxc")
    async with made.watching():
        made.taken.refuse = trouble
        made.lab.fault("guest-crash", victim.vmid)
        await made.until(lambda: made.taken.refused > 2)
        tasks = made.past("pve1", "qmsnapshot", 130)
        made.lab.fault("guest-migrate", mover.vmid, next(n for n in made.lab.world.nodes if n != mover.node))
        made.lab.fault("storage-fill", "nas", 97)
        await made.polls(4)
        await made.act(victim, "start")
        await made.until(lambda: made.inventory.guests.records[victim.vmid].state.status == "running")  # type: ignore[union-attr]
        await made.polls(2)
        assert made.taken.reports == []
        made.taken.refuse, made.taken.most = None, 7
        await made.told("guest.stopped.unexpected", victim.vmid)
        await made.told("guest.started", victim.vmid)
        await made.told("guest.migrated", mover.vmid)
        await made.told("storage.usage.high")
        await made.until(lambda: len(made.taken.of("task.qmsnapshot.finished")) == 130, 20)
    assert upids(made, "task.qmsnapshot.finished") == sorted(t.upid for t in tasks)
    assert made.taken.repeated == 0
    order = [k for k in made.taken.kinds if k in ("guest.stopped.unexpected", "guest.started")]
    assert order == ["guest.stopped.unexpected", "guest.started"]


async def test_tasks_of_a_backup_server(made: Bench) -> None:
    server = made.lab.world.pbs["pbs1"]
    async with made.watching():
        task = server.tasks.create("pbs1", "verificationjob", "main:v-1", ROOT_SELF)
        await made.told("task.verificationjob.started")
    server.tasks.finish(task, "verification failed - please check the log for details")
    for _ in range(80):
        one = server.tasks.create("pbs1", "backup", "main:vm/100", ROOT_SELF)
        server.tasks.finish(one, "OK")
    async with made.watching():
        failed = await made.told("task.verificationjob.failed")
        await made.until(lambda: len(made.taken.of("task.backup.finished", 100)) == 80)
    assert (failed.site, failed.verdict.node, failed.verdict.severity) == ("pbs1", "pbs1", "error")
    assert "TASK ERROR: verification failed" in failed.verdict.message


async def test_guests_that_changed_while_the_watcher_was_away(made: Bench) -> None:
    asked, died, moved = made.guest("lxc"), made.guest(), made.guest("qemu", ha=True)
    idle = made.guest(running=False)
    async with made.watching():
        await made.polls(2)
    await made.act(asked, "stop")
    made.lab.fault("guest-crash", died.vmid)
    made.lab.fault("guest-migrate", moved.vmid, next(n for n in made.lab.world.nodes if n != moved.node))
    made.lab.fault("guest-destroy", idle.vmid)
    made.lab.fault("guest-create")
    await made.until(lambda: idle.vmid not in made.inventory.guests.records or True)
    await made.polls(8)
    async with made.watching():
        stopped = await made.told("guest.stopped", asked.vmid)
        unexpected = await made.told("guest.stopped.unexpected", died.vmid)
        await made.told("guest.migrated", moved.vmid)
        gone = await made.told("guest.destroyed", idle.vmid)
        await made.until(lambda: "guest.created" in made.taken.kinds)
        await made.polls(3)
    assert stopped.verdict.fields["stopped_by"] == "root@pam!full"
    assert stopped.at is not None
    assert unexpected.at is not None
    assert stopped.at <= unexpected.at
    assert unexpected.verdict.fields["while_away"] is True
    assert "while the bridge was away" in unexpected.verdict.message
    assert gone.verdict.fields["user"] == "root@pam"
    guests = [k for k in made.taken.kinds if k.startswith("guest.")]
    assert sorted(guests) == [
        "guest.created",
        "guest.destroyed",
        "guest.migrated",
        "guest.stopped",
        "guest.stopped.unexpected",
    ]
    async with made.watching():
        await made.polls(3)
    assert [k for k in made.taken.kinds if k.startswith("guest.")] == guests


async def test_steady_state_calls(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the cluster log, watching costs nothing where nothing happens."""
    monkeypatch.setattr("mqtt_bridge.listeners.live_log.EVERY", NEVER)
    async with bench(lab, tasks=0.1) as made, made.watching():
        await made.until(lambda: "log/lab" in made.taken.cursors)
        await made.polls(2)
        lab.requests.clear()
        await made.polls(6)
        paths = {r.path.removeprefix("/api2/json") for r in lab.requests}
    polled = {"/cluster/resources", "/cluster/status", "/cluster/tasks", "/access/permissions"}
    served = {"/status/datastore-usage", "/nodes/localhost/tasks", "/nodes/localhost/status", "/version"}
    assert {p for p in paths if "datastore" not in p and "/admin/" not in p} <= polled | served


async def test_more_changes_than_can_wait_are_made_good_by_comparing(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.live_site.WAITING", 3)
    async with made.watching():
        made.taken.refuse = IntakeFullError("full")
        running = [g for g in made.lab.world.guests.values() if g.running and not g.lock and not g.template][:9]
        for guest in running:
            made.lab.fault("guest-crash", guest.vmid)
            await made.polls(1)
        await made.polls(5)
        made.taken.refuse = None
        await made.until(lambda: len(made.taken.of("guest.stopped.unexpected")) == 9, 15)
    assert sorted(r.verdict.guest or 0 for r in made.taken.reports) == sorted(g.vmid for g in running)


async def test_a_watch_that_fails_is_begun_again_and_stops_no_other(
    made: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_bridge.supervise.FIRST", 0.3)
    monkeypatch.setattr("mqtt_bridge.listeners.live.HEALTH_EVERY", 0.05)
    guest = made.guest()
    async with made.watching() as live:
        before = live.sites["lab"]
        broken = GuestChanged(None, None, 0.0)  # type: ignore[arg-type]
        before._take(broken)
        await made.until(lambda: any(h.startswith("-lab: ") for h in made.taken.health))
        made.lab.fault("guest-crash", guest.vmid)
        await made.told("guest.stopped.unexpected", guest.vmid)
        assert live.sites["lab"] is not before
        await made.until(lambda: made.taken.health[-1].startswith("+"))
