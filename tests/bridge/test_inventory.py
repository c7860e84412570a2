"""What the pollers publish of a lab, and of a lab in trouble."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest

from mqtt_bridge.pollers import Pollers
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab, LabOptions
from tests.support.watched import WRITER, Watched, fast


async def test_everything_that_exists_is_published(watched: Watched) -> None:
    manifest = watched.get("manifest")
    assert manifest["complete"]
    assert manifest["nodes"] == ["pve1", "pve2", "pve3"]
    assert len(manifest["guests"]) == 24
    assert all(watched.guest(v)["name"] for v in manifest["guests"])
    assert {watched.guest(v)["type"] for v in manifest["guests"]} == {"qemu", "lxc"}
    assert any(watched.guest(v)["template"] for v in manifest["guests"])
    for identity in manifest["storages"]:
        node, _, storage = identity.rpartition("/")
        kind = {"storage": storage, "node": node} if node else {"storage": storage}
        assert watched.get("storage" if node else "shared_storage", **kind)["available"]
    assert watched.get("cluster")["quorate"] is True
    assert watched.get("site_state") == "online"
    assert watched.get("heartbeat")["reason"] is None
    assert watched.get("manifest", site="pbs1")["datastores"] == ["archive", "main"]


async def test_one_call_for_all_guests_per_poll(watched: Watched) -> None:
    watched.lab.requests.clear()
    pulse = watched.pollers.inventories["lab"].pulse
    before = pulse.polls
    await watched.polls(5)
    assert watched.lab.requests.count("GET", "*/cluster/resources") == pulse.polls - before


async def test_details_arrive(watched: Watched) -> None:
    running = next(g.vmid for g in watched.lab.world.guests.values() if g.running and g.kind == "lxc")
    await watched.until(lambda: watched.guest(running)["details_at"] and watched.guest(running)["ips"])
    await watched.until(lambda: watched.get("node", node="pve2")["version"])
    await watched.until(lambda: watched.get("datastore", site="pbs1", store="main")["last_backup"], 15)
    await watched.until(lambda: watched.get("cluster")["not_backed_up"] is not None)
    await watched.until(lambda: watched.guest(running)["last_backup"])


async def test_unchanged_is_not_published_again(watched: Watched) -> None:
    await watched.until(lambda: all(g.details.at for g in watched.inventory.guests))
    await asyncio.sleep(0.5)
    topics = [
        watched.pollers.retained.names.build("guest", site="lab", vmid=v) for v in watched.get("manifest")["guests"]
    ]
    before = {t: watched.pollers.retained.held[t] for t in topics}
    await watched.polls(4)
    assert all(watched.pollers.retained.held[t] is before[t] for t in topics)


def _a_running_guest(lab: Lab, kind: str = "qemu") -> int:
    return next(g.vmid for g in lab.world.guests.values() if g.running and g.kind == kind and not g.lock)


async def test_a_guest_that_dies_is_told_as_unexpected(watched: Watched) -> None:
    vmid = _a_running_guest(watched.lab)
    watched.lab.fault("guest-crash", vmid)
    await watched.until(lambda: watched.guest(vmid)["status"] == "stopped")
    await watched.until(lambda: "guest.stopped.unexpected" in watched.kinds())
    event = next(e for e in watched.events if e.kind == "guest.stopped.unexpected")
    assert (event.guest, event.severity, event.site) == (vmid, "error", "lab")
    assert watched.guest(vmid)["stopped_by"] is None


@pytest.mark.parametrize("kind", ["qemu", "lxc"])
async def test_a_guest_that_was_stopped_says_by_whom(watched: Watched, kind: str) -> None:
    vmid = _a_running_guest(watched.lab, kind)
    client = watched.pollers.clients["lab"]
    node = watched.guest(vmid)["node"]
    await client.post("nodes", node, kind, vmid, "status", "stop")
    await watched.until(lambda: watched.guest(vmid)["status"] == "stopped")
    await watched.until(lambda: watched.guest(vmid)["stopped_by"] == "root@pam!full")
    await client.post("nodes", node, kind, vmid, "status", "start")
    await watched.until(lambda: watched.guest(vmid)["status"] == "running")
    assert watched.guest(vmid)["stopped_by"] is None, "a guest that runs was stopped by nobody"
    await watched.until(lambda: "guest.started" in watched.kinds())
    assert "guest.stopped.unexpected" not in watched.kinds()


async def test_a_failed_task_is_told_with_the_end_of_its_log(watched: Watched) -> None:
    vmid = _a_running_guest(watched.lab)
    watched.lab.fault("guest-lock", vmid, "backup")
    await watched.pollers.clients["lab"].post("nodes", watched.guest(vmid)["node"], "qemu", vmid, "status", "shutdown")
    await watched.until(lambda: "task.qmshutdown.failed" in watched.kinds())
    event = next(e for e in watched.events if e.kind == "task.qmshutdown.failed")
    assert "locked (backup)" in event.title
    assert "TASK ERROR: VM is locked (backup)" in event.message
    assert watched.guest(vmid)["lock"] == "backup"
    assert watched.guest(vmid)["locked_since"]


async def test_a_destroyed_guest_goes_and_a_new_one_comes(watched: Watched) -> None:
    victim = _a_running_guest(watched.lab)
    watched.lab.fault("guest-destroy", victim)
    await watched.until(lambda: watched.guest(victim) is None)
    assert watched.get("guest_metrics", vmid=victim) is None
    assert victim not in watched.get("manifest")["guests"]
    assert watched.get("site_state") == "online"
    before = set(watched.get("manifest")["guests"])
    watched.lab.fault("guest-create")
    await watched.until(lambda: len(watched.get("manifest")["guests"]) == len(before) + 1)


async def test_gone_is_published_unavailable_first(watched: Watched) -> None:
    victim = _a_running_guest(watched.lab)
    seen = []
    put = watched.pollers.retained.put

    def record(kind: str, value: object, **ids: object) -> bool:
        if kind == "guest" and ids.get("vmid") == victim:
            seen.append(value.available)  # type: ignore[attr-defined]
        return put(kind, value, **ids)  # type: ignore[arg-type]

    watched.pollers.retained.put = record  # type: ignore[method-assign]
    watched.lab.fault("guest-destroy", victim)
    await watched.until(lambda: watched.guest(victim) is None)
    assert seen
    assert seen[-1] is False


async def test_a_token_that_loses_its_rights_deletes_nothing(watched: Watched) -> None:
    before = dict(watched.pollers.retained.held)
    watched.lab.fault("token-strip")
    await watched.until(lambda: watched.get("site_state") == "degraded")
    await watched.polls(6)
    kept = [t for t in before if "/guest/" in t or "/storage/" in t or "/node/" in t]
    assert all(t in watched.pollers.retained.held for t in kept)
    reason = watched.get("heartbeat")["reason"]
    assert "VM.Audit" in reason
    missing = {m.privilege for m in watched.pollers.inventories["lab"].missing}
    assert {"VM.Audit", "Sys.Audit", "Datastore.Audit"} <= missing
    assert watched.get("manifest")["complete"] is False
    watched.lab.fault("token-unstrip")
    await watched.until(lambda: watched.get("site_state") == "online")
    assert watched.get("manifest")["complete"] is True


async def test_a_revoked_token_takes_the_site_offline_and_back(watched: Watched) -> None:
    watched.lab.fault("token-revoke")
    await watched.until(lambda: watched.get("site_state") == "offline")
    assert "token" in watched.get("heartbeat")["reason"].lower()
    assert watched.guest(_a_running_guest(watched.lab))["status"] == "running", "retained data stays with its age"
    watched.lab.fault("token-restore")
    await watched.until(lambda: watched.get("site_state") == "online", 10)


async def test_guests_of_a_lost_node_are_not_running(watched: Watched) -> None:
    mine = [g.vmid for g in watched.lab.world.guests.values() if g.node == "pve2" and g.running]
    watched.lab.fault("node-down", "pve2")
    await watched.until(lambda: watched.get("node", node="pve2")["status"] == "offline")
    await watched.until(lambda: all(watched.guest(v)["status"] == "unknown" for v in mine))
    assert not any(watched.guest(v)["available"] for v in mine)
    await watched.until(lambda: "node.offline" in watched.kinds())
    assert "guest.stopped.unexpected" not in watched.kinds()
    assert watched.get("storage", node="pve2", storage="local")["available"] is False
    assert watched.get("site_state") == "online"
    await watched.polls(5)
    assert set(mine) <= set(watched.get("manifest")["guests"])
    watched.lab.fault("node-up", "pve2")
    await watched.until(lambda: watched.get("node", node="pve2")["status"] == "online")
    await watched.until(lambda: "node.online" in watched.kinds())


async def test_quorum(watched: Watched) -> None:
    watched.lab.fault("quorum-loss")
    await watched.until(lambda: watched.get("cluster")["quorate"] is False)
    watched.lab.fault("quorum-back")
    await watched.until(lambda: watched.get("cluster")["quorate"] is True)
    told = ["quorum.lost", "quorum.ok"]  # the event is stored a moment after the state is published
    await watched.until(lambda: [k for k in watched.kinds() if k.startswith("quorum")] == told)


async def test_failover_when_the_first_host_goes_away(watched: Watched) -> None:
    first = watched.get("heartbeat")["endpoint"]
    watched.lab.fault("host-down", "pve1")
    await watched.until(lambda: watched.get("heartbeat")["endpoint"] != first)
    await watched.polls(3)
    assert watched.get("site_state") == "online"
    assert watched.get("heartbeat")["reason"] is None


async def test_storage_figures_follow(watched: Watched) -> None:
    watched.lab.fault("storage-fill", "nas", 96)
    await watched.until(lambda: watched.get("shared_storage", storage="nas")["used_percent"] >= 95)
    watched.lab.fault("storage-offline", "nas")
    await watched.until(lambda: watched.get("shared_storage", storage="nas")["available"] is False)
    assert watched.get("shared_storage", storage="nas")["used_percent"] is None, "unknown, not zero"


async def test_migration_keeps_the_topic(watched: Watched) -> None:
    vmid = _a_running_guest(watched.lab)
    target = next(n for n in ("pve1", "pve2", "pve3") if n != watched.guest(vmid)["node"])
    watched.lab.fault("guest-migrate", vmid, target)
    await watched.until(lambda: watched.guest(vmid)["node"] == target)
    await watched.until(lambda: "guest.migrated" in watched.kinds())


async def test_an_error_of_the_api_is_told_and_passes(watched: Watched) -> None:
    watched.lab.fault("api-error", 500)
    await watched.until(lambda: watched.get("site_state") == "offline")
    assert watched.get("heartbeat")["reason"]
    watched.lab.fault("api-error", 0)
    await watched.until(lambda: watched.get("site_state") == "online", 10)


async def test_a_site_that_is_down_at_the_start_stops_no_other(lab: Lab) -> None:
    env = dict(lab.env)
    env["PBS1_HOST"] = "127.0.0.1:1"
    async with Pollers(fast(load(env, search=False)), WRITER) as pollers:
        pollers.poll()
        await pollers.polled_once()
        seen = Watched(lab, pollers)
        await seen.until(lambda: seen.get("site_state") == "online")
        await seen.until(lambda: seen.get("site_state", site="pbs1") == "offline")
        assert "127.0.0.1:1" in seen.get("heartbeat", site="pbs1")["reason"]
        assert len(seen.get("manifest")["guests"]) == 24


async def test_a_read_only_token_sees_what_it_may(lab: Lab) -> None:
    env = dict(lab.env)
    for key in list(env):
        if key.endswith("_TOKEN_NAME"):
            env[key] = lab.readonly_token_name
        elif key.endswith("_TOKEN_VALUE"):
            env[key] = lab.readonly_token_value
    async with Pollers(fast(load(env, search=False)), WRITER) as pollers:
        pollers.poll()
        await pollers.polled_once()
        seen = Watched(lab, pollers)
        await seen.until(lambda: seen.get("site_state") == "online")
        missing = {m.feature for m in pollers.inventories["lab"].missing}
        assert "pending updates" in missing
        await seen.until(lambda: seen.get("node", node="pve1")["version"])
        assert seen.get("node", node="pve1")["updates"] is None, "unknown, not none"


async def test_hundreds_of_guests_cost_one_call(lab_options: LabOptions) -> None:
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(replace(lab_options, guests=400, nodes=5, pbs=0)))
        pollers = await stack.enter_async_context(Pollers(fast(load(dict(lab.env), search=False)), WRITER))
        pollers.poll()
        await pollers.polled_once()
        assert lab.requests.count("GET", "*/cluster/resources") == 1
        assert len(Watched(lab, pollers).get("manifest")["guests"]) == 400


async def test_a_backup_that_ends_is_seen_without_waiting_for_the_next_look(watched: Watched) -> None:
    vmid = _a_running_guest(watched.lab)
    await watched.until(lambda: watched.guest(vmid)["backup_covered"] is not None)
    before = watched.guest(vmid)["last_backup"]
    await watched.pollers.clients["lab"].post("nodes", watched.guest(vmid)["node"], "vzdump", vmid=vmid, storage="nas")
    await watched.until(lambda: watched.guest(vmid)["last_backup"] != before, 10)


async def test_many_stops_at_once_raise_no_false_alarm(watched: Watched) -> None:
    mine = [g for g in watched.lab.world.guests.values() if g.running and not g.lock and not g.template][:8]
    client = watched.pollers.clients["lab"]
    await asyncio.gather(*(client.post("nodes", g.node, g.kind, g.vmid, "status", "stop") for g in mine))
    await watched.until(lambda: all(watched.guest(g.vmid)["status"] == "stopped" for g in mine), 10)
    await watched.until(lambda: sum(k == "guest.stopped" for k in watched.kinds()) == len(mine), 10)
    assert "guest.stopped.unexpected" not in watched.kinds()
    assert {watched.guest(g.vmid)["stopped_by"] for g in mine} == {"root@pam!full"}
