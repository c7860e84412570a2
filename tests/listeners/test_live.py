"""What the live watcher tells of a lab: every kind of difference, over HTTPS."""

from collections.abc import AsyncIterator

import pytest

from mqtt_bridge.listeners import live_site
from mqtt_bridge.settings.listening import LiveSettings
from proxmox_mcp.lab import Lab, LabOptions
from tests.listeners.live_support import Bench, bench

FAST = LabOptions(
    nodes=3, guests=24, seed=1, speed=20, pvestatd_interval=0, rrd_timeout=1.5, auth_delay=0.05, dead_node_delay=0.05,
    proxy_timeout=0.5, ha_recovery=0.6,
)  # fmt: skip


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(FAST) as running:
        yield running


@pytest.fixture
async def seen(lab: Lab) -> AsyncIterator[Bench]:
    async with bench(lab) as made, made.watching():
        yield made


async def test_the_very_first_start_tells_nothing(seen: Bench) -> None:
    await seen.polls(4)
    assert seen.taken.reports == []
    assert seen.taken.health[-1] in ("+watching lab, pbs1", "+watching pbs1, lab")
    assert {"site/lab", "site/pbs1", "tasks/lab/pve1", "tasks/pbs1/pbs1", "log/lab"} <= set(seen.taken.cursors)


# --- guests ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qemu", "lxc"])
async def test_a_guest_that_is_stopped_and_started(seen: Bench, kind: str) -> None:
    guest = seen.guest(kind)
    upid = await seen.act(guest, "stop")
    stopped = await seen.told("guest.stopped", guest.vmid)
    assert (stopped.site, stopped.trust, stopped.verdict.severity) == ("lab", "api", "info")
    assert (stopped.verdict.node, stopped.verdict.upid) == (guest.node, upid)
    assert stopped.verdict.fields["stopped_by"] == "root@pam!full"
    assert stopped.context == {"name": guest.name, "status": "stopped"}
    await seen.act(guest, "start")
    started = await seen.told("guest.started", guest.vmid)
    assert (started.verdict.ok, started.verdict.title) == (True, f"{guest.name} is running")
    assert started.verdict.fields["user"] == "root@pam!full"
    assert "guest.stopped.unexpected" not in seen.taken.kinds


async def test_a_guest_that_dies(seen: Bench) -> None:
    guest = seen.guest()
    seen.lab.fault("guest-crash", guest.vmid)
    died = await seen.told("guest.stopped.unexpected", guest.vmid)
    assert (died.verdict.severity, died.verdict.ok, died.verdict.node) == ("error", False, guest.node)


async def test_a_guest_that_goes_down_under_a_lock(seen: Bench) -> None:
    guest = seen.guest()
    seen.lab.fault("guest-lock", guest.vmid, "backup")
    await seen.polls(2)
    seen.lab.fault("guest-crash", guest.vmid)
    stopped = await seen.told("guest.stopped", guest.vmid)
    assert stopped.verdict.fields["reason"] == "lock"
    assert "backup" in stopped.verdict.title


async def test_a_stop_that_is_in_no_list_is_explained_by_its_nodes_own(seen: Bench) -> None:
    """A burst displaces the task that stopped the guest before anybody looked."""
    guest = seen.guest()
    stop = seen.start(guest.node, "qmstop", str(guest.vmid))
    seen.finish(stop)
    seen.past(guest.node, "imgcopy", 60)
    seen.lab.fault("guest-crash", guest.vmid)
    stopped = await seen.told("guest.stopped", guest.vmid)
    assert stopped.verdict.upid == stop.upid
    assert "guest.stopped.unexpected" not in seen.taken.kinds


async def test_a_guest_that_is_restarted_is_not_reported_as_lost(seen: Bench) -> None:
    guest = seen.guest()
    await seen.act(guest, "reboot")
    await seen.told("task.qmreboot.finished", guest.vmid)
    await seen.polls(4)
    assert "guest.stopped.unexpected" not in seen.taken.kinds


async def test_hibernation_and_the_way_back(seen: Bench) -> None:
    guest = seen.guest()
    await seen.act(guest, "suspend", todisk=1)
    suspended = await seen.told("guest.suspended", guest.vmid)
    assert suspended.verdict.severity == "info"
    await seen.act(guest, "resume")
    await seen.told("guest.resumed", guest.vmid)


async def test_a_pause_and_its_end(seen: Bench) -> None:
    guest = seen.guest()
    await seen.act(guest, "suspend")
    await seen.told("guest.paused", guest.vmid)
    await seen.act(guest, "resume")
    await seen.told("guest.resumed", guest.vmid)


async def test_a_pause_from_before_is_not_told_at_each_start(lab: Lab) -> None:
    """A fresh inventory sees the VM run; only the details, read a moment later, say that it is paused."""
    async with bench(lab) as made:
        vmid = made.guest().vmid
    lab.fault("guest-pause", vmid)
    taken = None
    for _ in ("the very first start", "a restart"):
        async with bench(lab, details=True) as made, made.watching(taken):
            await made.until(lambda: made.inventory.guests.records[vmid].known == "paused")
            await made.polls(2)
            taken = made.taken
            assert [k for k in taken.kinds if k.startswith("guest.")] == []
    async with bench(lab, details=True) as made, made.watching(taken):
        await made.act(lab.world.guests[vmid], "resume")
        await made.told("guest.resumed", vmid)


async def test_migration(seen: Bench) -> None:
    guest, before = seen.guest(), seen.guest().node
    target = next(n for n in seen.lab.world.nodes if n != before)
    seen.lab.fault("guest-migrate", guest.vmid, target)
    moved = await seen.told("guest.migrated", guest.vmid)
    assert (moved.verdict.node, moved.verdict.fields["old_node"]) == (target, before)


async def test_created_and_destroyed(seen: Bench) -> None:
    seen.lab.fault("guest-create")
    await seen.until(lambda: "guest.created" in seen.taken.kinds)
    vmid = seen.taken.one("guest.created").verdict.guest
    assert vmid is not None
    seen.lab.fault("guest-destroy", vmid)
    gone = await seen.told("guest.destroyed", vmid)
    assert gone.verdict.upid is not None
    assert gone.verdict.fields["user"] == "root@pam"


async def test_guests_that_are_hidden_and_shown_again_are_not_new(seen: Bench) -> None:
    seen.lab.fault("token-strip")
    await seen.until(lambda: seen.inventory.pulse.status == "degraded")
    await seen.polls(3)
    seen.lab.fault("token-unstrip")
    await seen.until(lambda: seen.inventory.complete)
    await seen.polls(2)
    assert not [k for k in seen.taken.kinds if k.startswith("guest.")]


# --- nodes, quorum, HA -----------------------------------------------------------------------------------------------


async def test_a_node_that_is_lost_and_returns(seen: Bench) -> None:
    mine = [g for g in seen.lab.world.guests.values() if g.node == "pve2" and g.running]
    for guest in mine[:1]:
        guest.config.pop("onboot", None)
    seen.lab.fault("node-down", "pve2")
    lost = await seen.told("node.offline")
    assert (lost.verdict.node, lost.verdict.severity) == ("pve2", "critical")
    seen.lab.fault("node-up", "pve2")
    await seen.told("node.online")
    stopped = await seen.told("guest.stopped", mine[0].vmid)
    assert (stopped.verdict.fields["reason"], stopped.verdict.severity) == ("node", "info")
    assert "guest.stopped.unexpected" not in seen.taken.kinds


async def test_quorum(seen: Bench) -> None:
    seen.lab.fault("quorum-loss")
    assert (await seen.told("quorum.lost")).verdict.severity == "critical"
    seen.lab.fault("quorum-back")
    await seen.told("quorum.ok")


async def test_states_of_the_ha_manager(seen: Bench) -> None:
    guest = seen.guest(ha=True)
    seen.lab.fault("ha-state", guest.vmid, "error")
    state = await seen.told("ha.service.state", guest.vmid)
    assert (state.verdict.severity, state.verdict.fields["new"], state.verdict.fields["old"]) == (
        "error",
        "error",
        "started",
    )
    seen.lab.fault("ha-state", guest.vmid, "started")
    back = await seen.told("ha.service.recovered", guest.vmid)
    assert back.verdict.severity == "warning"


def _managed(seen: Bench) -> set[int]:
    return {int(sid.partition(":")[2]) for sid in seen.lab.world.ha}


async def test_a_node_that_is_fenced(seen: Bench) -> None:
    node = seen.guest(ha=True).node
    seen.lab.fault("node-down", node)
    assert (await seen.told("node.fencing")).verdict.node == node
    assert (await seen.told("node.fenced")).verdict.severity == "critical"
    moved = [g.vmid for g in seen.lab.world.guests.values() if g.vmid in _managed(seen) and g.node != node]
    await seen.until(lambda: any(r.verdict.guest in moved for r in seen.taken.of("guest.migrated")))
    await seen.polls(4)
    assert "guest.stopped.unexpected" not in seen.taken.kinds


# --- storages, datastores, details ------------------------------------------------------------------------------------


async def test_a_storage_that_fills_is_told_once_per_level_and_with_hysteresis(seen: Bench) -> None:
    for percent in (86, 88, 84, 86, 96, 94, 96):
        seen.lab.fault("storage-fill", "nas", percent)
        await seen.polls(2)
    await seen.until(lambda: len(seen.taken.of("storage.usage.high")) == 2)
    assert [r.verdict.severity for r in seen.taken.of("storage.usage.high")] == ["warning", "error"]
    assert seen.taken.of("storage.usage.high")[0].verdict.fields["storage"] == "nas"
    seen.lab.fault("storage-fill", "nas", 60)
    await seen.told("storage.usage.ok")


async def test_a_storage_that_is_offline_while_its_node_is_up(seen: Bench) -> None:
    seen.lab.fault("storage-offline", "local", "pve1")
    offline = await seen.told("storage.offline")
    assert (offline.verdict.node, offline.verdict.severity) == ("pve1", "warning")
    seen.lab.fault("storage-online", "local")
    await seen.told("storage.online")
    seen.lab.fault("node-down", "pve2")
    await seen.told("node.offline")
    await seen.polls(4)
    assert len(seen.taken.of("storage.offline")) == 1, "a lost node's storages are not the trouble"


async def test_a_datastore_that_fills(seen: Bench) -> None:
    seen.lab.fault("storage-fill", "main", 96)
    await seen.until(lambda: any(r.site == "pbs1" for r in seen.taken.of("storage.usage.high")))
    report = next(r for r in seen.taken.of("storage.usage.high") if r.site == "pbs1")
    assert (report.verdict.fields["datastore"], report.verdict.severity) == ("main", "error")


async def test_what_costs_a_call_per_node_is_told_too(lab: Lab) -> None:
    async with bench(lab, details=True) as made, made.watching():
        await made.until(lambda: all(n.slow for n in made.inventory.nodes))
        await made.until(lambda: made.inventory.not_backed_up is not None)
        await made.polls(2)
        assert made.taken.reports == []
        lab.fault("certificate-ends", "pve1", 10)
        lab.world.nodes["pve2"].updates = (("a", "1", "2"),) * (len(lab.world.nodes["pve2"].updates) + 1)
        for record in made.inventory.nodes:
            record.slow_due = record.details_due = 0.0
        ends = await made.told("certificate.expiring")
        assert (ends.verdict.node, ends.verdict.severity) == ("pve1", "warning")
        assert (await made.told("update.available")).verdict.node == "pve2"


async def test_a_guest_that_is_in_no_backup_job_any_more(lab: Lab) -> None:
    async with bench(lab, details=True) as made, made.watching():
        await made.until(lambda: made.inventory.not_backed_up is not None)
        await made.polls(2)
        assert made.taken.reports == []
        job = lab.world.backup_jobs["backup-nightly"]
        first, *rest = job.vmids
        job.vmids = tuple(rest)
        made.inventory.backup_ended.set()
        # the job is read anew only after BACKUPS_EVERY, or when a backup has ended
        lost = await made.told("backup.uncovered", first)
        assert lost.verdict.severity == "warning"
        job.vmids = ()
        made.inventory.backup_ended.set()
        await made.until(lambda: len(made.taken.of("backup.uncovered")) == 2 or len(rest) < 10)
        job.vmids = (first, *rest)
        made.inventory.backup_ended.set()
        await made.until(lambda: "backup.covered" in made.taken.kinds)


async def test_backups_that_are_too_old(lab: Lab) -> None:
    async with bench(lab, LiveSettings(reconnect_interval=0.2, backup_max_age=30 * 86400), details=True) as made:
        async with made.watching():
            await made.until(lambda: made.inventory.not_backed_up is not None)
            await made.polls(2)
        made.settings = LiveSettings(reconnect_interval=0.2, backup_max_age=60)
        async with made.watching():
            made.inventory.backup_ended.set()
            await made.until(lambda: "backup.stale" in made.taken.kinds)
            assert {r.verdict.severity for r in made.taken.of("backup.stale")} == {"warning"}
            number = len(made.taken.of("backup.stale"))
            made.inventory.backup_ended.set()
            await made.polls(5)
            assert len(made.taken.of("backup.stale")) == number, "told once"


# --- the cluster log, the API -----------------------------------------------------------------------------------------


async def test_the_cluster_log(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.live_log.EVERY", 0.1)
    lab.fault("cluster-log", "pve1", 3, "pvedaemon", "of before the first start")
    async with bench(lab) as made:
        async with made.watching():
            await made.until(lambda: "log/lab" in made.taken.cursors)
            lab.fault("cluster-log", "pve2", 3, "corosync", "link: host: 2 link: 0 is down")
            lab.fault("cluster-log", "pve2", 6, "pvedaemon", "successful auth for user 'root@pam'")
            await made.until(lambda: any(r.identity.startswith("log/") for r in made.taken.reports))
        lab.fault("cluster-log", "pve3", 4, "pvestatd", "while nobody listened")
        async with made.watching():
            await made.until(lambda: sum(r.identity.startswith("log/") for r in made.taken.reports) == 2)
            await made.polls(4)
    logged = [r for r in made.taken.reports if r.identity.startswith("log/")]
    assert [r.verdict.node for r in logged] == ["pve2", "pve3"]
    assert made.taken.repeated == 0


async def test_a_cluster_log_that_is_not_all_there_is_said_once_and_is_no_trouble(
    seen: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    assert seen.taken.health[-1].endswith(("+watching lab, pbs1", "+watching pbs1, lab"))
    seen.inventory._granted = {"/": {"Sys.Audit": 1, "VM.Audit": 1, "Datastore.Audit": 1}}
    await seen.until(lambda: "own entries" in seen.taken.health[-1])
    assert seen.taken.health[-1].startswith("+")
    assert "pveum acl modify / --tokens 'root@pam!" in seen.taken.health[-1]
    assert "PVESysAdmin" in seen.taken.health[-1]
    await seen.polls(3)
    assert sum("own entries" in said for said in seen.taken.health) == 1
    assert [record.levelname for record in caplog.records if "own entries" in record.message] == ["WARNING"]
    seen.inventory._granted = {"/": {"Sys.Audit": 1, "VM.Audit": 1, "Datastore.Audit": 1, "Sys.Syslog": 1}}
    await seen.until(lambda: "own entries" not in seen.taken.health[-1])


async def test_an_api_that_is_silent_for_a_while(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_site, "SITE_GRACE", 0.3)
    monkeypatch.setattr(live_site, "LOOK", 0.1)
    async with bench(lab) as made, made.watching():
        lab.fault("host-down", "pbs1")
        silent = await made.told("site.offline")
        assert (silent.site, silent.verdict.severity) == ("pbs1", "error")
        await made.until(lambda: made.taken.health[-1].startswith("-pbs1: "))
        guest = made.guest()
        lab.fault("guest-crash", guest.vmid)
        await made.told("guest.stopped.unexpected", guest.vmid)
        lab.fault("host-up", "pbs1")
        await made.told("site.online", seconds=15)
        await made.until(lambda: made.taken.health[-1].startswith("+"))
