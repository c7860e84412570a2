"""Guests that are there, on the lab: their settings, cloud-init, migration, and how they end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import UUID

import pytest

from mqtt_bridge.actions import ActionError, find, migrate
from mqtt_bridge.approvals import Approvals, Decider
from mqtt_bridge.errors import ForbiddenError, PolicyError, RejectedError, UnknownTargetError
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef
from mqtt_bridge.whoami import Identity
from proxmox_mcp.lab.rules import Replication
from proxmox_mcp.lab.state import Snapshot
from tests.actions.provision_bench import (
    CT,
    HA_VM,
    ISO,
    KEY,
    OPEN,
    ROOT,
    STOPPED_CT,
    STOPPED_VM,
    TEMPLATE,
    VM,
    Bench,
    client_of,
    do,
    opened,
    said,
    written,
)
from tests.approvals.making import AGENT, SETTINGS

HIDDEN = "hidden-4711"


@pytest.fixture
async def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(migrate, "PACE", 0.05)
    async with opened(tmp_path / "state") as ready:
        yield ready


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


# --- settings --------------------------------------------------------------------------------------------------------


async def test_what_a_running_machine_takes_at_once_and_what_waits(bench: Bench) -> None:
    order: dict[str, Any] = {
        "name": "new-name", "tags": ["b", "a"], "cores": 3, "memory": 1024, "onboot": False, "description": "x\ny",
        "startup_order": 3, "boot": ["net0", "scsi0"], "cpu_limit": 1.5,
    }  # fmt: skip
    plan = await do(bench, "guest.update", VM, dry_run=True, **order)
    assert said(plan) == {
        "name": "new-name", "tags": "b;a", "cores": 3, "memory": 1024, "onboot": 0, "description": "x\ny",
        "startup": "order=3", "boot": "order=net0;scsi0", "cpulimit": "1.5", "digest": bench.lab.guest(VM).digest,
    }  # fmt: skip
    done = await do(bench, "guest.update", VM, **order)
    assert (done.ok, done.status) == (True, "done")
    assert sorted(done.details["pending"]) == ["cores", "memory"]
    assert "wait until it is stopped and started" in done.message
    config = bench.lab.guest(VM).config
    assert (config["name"], config["boot"], config["startup"]) == ("new-name", "order=net0;scsi0", "order=3")
    again = await do(bench, "guest.update", VM, **order)
    assert (again.changed, again.ok, len(bench.writes)) == (False, True, 1)


async def test_a_container_takes_it_at_once(bench: Bench) -> None:
    done = await do(bench, "guest.update", CT, name="ct-new", memory=2048, swap=0, nameserver=["192.0.2.53"], tags=[])
    assert (done.ok, done.details) == (True, {})
    config = bench.lab.guest(CT).config
    assert (config["hostname"], config["memory"], config["swap"], "tags" in config) == ("ct-new", 2048, 0, False)
    assert bench.writes == [f"PUT /nodes/{bench.lab.guest(CT).node}/lxc/{CT}/config"]


async def test_the_agent_s_other_settings_stay(bench: Bench) -> None:
    bench.lab.guest(STOPPED_VM).config["agent"] = "1,fstrim_cloned_disks=1"
    assert said(await do(bench, "guest.update", STOPPED_VM, agent=False, dry_run=True))["agent"] == (
        "0,fstrim_cloned_disks=1"
    )


async def test_a_configuration_that_changed_meanwhile_is_left_alone(bench: Bench) -> None:
    post = bench.client.post

    async def rival(*segments: Any, **params: Any) -> Any:
        bench.lab.guest(VM).config["cores"] = 7
        return await post(*segments, **params)

    bench.client.post = rival  # type: ignore[method-assign]
    with pytest.raises(RejectedError, match="file change by other user"):
        await do(bench, "guest.update", VM, onboot=False)
    assert bench.lab.guest(VM).config["onboot"] == 1


@pytest.mark.parametrize(
    ("vmid", "args", "says"),
    [
        (CT, {"sockets": 2}, "for virtual machines"),
        (CT, {"boot": ["net0"]}, "for virtual machines"),
        (VM, {"swap": 5}, "for containers"),
        (VM, {"nameserver": ["192.0.2.1"]}, "set_cloudinit"),
        (VM, {"boot": ["scsi9"]}, "no scsi9 to boot from"),
        (VM, {}, "Nothing was named"),
    ],
)
async def test_changes_that_make_no_sense(bench: Bench, vmid: int, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        await do(bench, "guest.update", vmid, **args)
    assert bench.writes == []


@pytest.mark.parametrize(
    "args",
    [
        {"protection": False}, {"args": "-s"}, {"hookscript": "local:snippets/x"}, {"hostpci0": "x"}, {"lock": ""},
        {"boot": ["net0;scsi0"]}, {"cpu": "host,hidden=1"}, {"name": "a,b"}, {"skiplock": True}, {"template": True},
        {"cicustom": "user=local:snippets/x"}, {"agent": "1,freeze-fs=0"}, {"description": "a\x00b"},
    ],
)  # fmt: skip
def test_what_no_change_can_say(args: dict[str, Any]) -> None:
    with pytest.raises(ActionError):
        find("guest.update").arguments(args)


async def test_protected_tags_are_taken_off_by_nobody(bench: Bench) -> None:
    spared = replace(OPEN, protected_tags=frozenset({"Web"}))
    orders: tuple[tuple[str, dict[str, Any]], ...] = (
        ("guest.update", {"tags": []}),
        ("guest.update", {"cores": 2}),
        ("guest.migrate", {"target": "pve2"}),
        ("guest.delete", {}),
        ("guest.template", {}),
    )
    for action, args in orders:
        with pytest.raises(PolicyError, match="protected by the tag 'web'"):
            await do(bench, action, VM, permission=spared, **args)
    assert bench.writes == []
    assert "web" in bench.lab.guest(VM).tags


async def test_protection_is_put_on_and_then_keeps_the_guest(bench: Bench) -> None:
    assert (await do(bench, "guest.update", STOPPED_VM, protection=True)).ok
    with pytest.raises(PolicyError, match="protection flag"):
        await do(bench, "guest.delete", STOPPED_VM, purge=True)
    assert STOPPED_VM in bench.lab.world.guests


async def test_a_locked_guest_an_unknown_one_and_a_token_without_the_privilege(
    bench: Bench, stack: AsyncExitStack
) -> None:
    reader = await stack.enter_async_context(client_of(bench.lab, account="audit@pve!ro"))
    for action, args in (
        ("guest.update", {"onboot": False}),
        ("guest.migrate", {"target": "pve2"}),
        ("guest.delete", {}),
    ):
        vmid = STOPPED_VM if action == "guest.delete" else VM
        with pytest.raises(ForbiddenError, match=r"VM\.(Config\.Options|Migrate|Allocate)"):
            await do(bench, action, vmid, clients={"lab": reader}, **args)
        with pytest.raises(UnknownTargetError, match="no guest 999"):
            await do(bench, action, 999, **args)
    bench.lab.fault("guest-lock", VM, "backup")
    with pytest.raises(ActionError, match="locked"):
        await do(bench, "guest.update", VM, onboot=False)


# --- cloud-init ------------------------------------------------------------------------------------------------------


async def test_cloud_init_is_set_and_its_drive_written_anew(bench: Bench) -> None:
    order: dict[str, Any] = {
        "user": "admin", "password": HIDDEN, "ssh_keys": [KEY, KEY.replace("me@", "you@")], "ip": "192.0.2.5/24",
        "gateway": "192.0.2.1", "ip6": "auto", "nameserver": ["192.0.2.53"], "searchdomain": "example.org",
        "upgrade": False, "storage": "local-lvm",
    }  # fmt: skip
    plan = await do(bench, "guest.cloudinit", STOPPED_VM, dry_run=True, **order)
    assert said(plan)["cipassword"] == "********"
    assert unquote(said(plan)["sshkeys"]).splitlines()[0] == KEY
    assert said(plan)["ipconfig0"] == "ip=192.0.2.5/24,gw=192.0.2.1,ip6=auto"
    done = await do(bench, "guest.cloudinit", STOPPED_VM, **order)
    assert done.ok, done
    config = bench.lab.guest(STOPPED_VM).config
    assert (config["ciuser"], config["cipassword"], config["ciupgrade"]) == ("admin", HIDDEN, 0)
    assert config["ide2"].startswith("local-lvm:vm-121-cloudinit")
    path = f"/nodes/{bench.lab.guest(STOPPED_VM).node}/qemu/{STOPPED_VM}"
    assert bench.writes == [f"POST {path}/config", f"PUT {path}/cloudinit"]
    assert HIDDEN not in f"{plan!r}{done!r}{written(bench)}"


async def test_what_is_not_named_stays_and_dhcp_takes_the_gateway_out(bench: Bench) -> None:
    guest = bench.lab.guest(STOPPED_VM)
    guest.config |= {
        "ide2": "local-lvm:vm-121-cloudinit,media=cdrom",
        "ipconfig0": "ip=192.0.2.5/24,gw=192.0.2.1,ip6=auto",
    }
    done = await do(bench, "guest.cloudinit", STOPPED_VM, ip="dhcp")
    assert (done.ok, guest.config["ipconfig0"]) == (True, "ip=dhcp,ip6=auto")
    guest.config["sshkeys"] = "x"
    assert (await do(bench, "guest.cloudinit", STOPPED_VM, ssh_keys=[])).ok
    assert "sshkeys" not in guest.config


@pytest.mark.parametrize(
    ("vmid", "args", "says"),
    [
        (CT, {"user": "x"}, "no cloud-init"),
        (STOPPED_VM, {"user": "x"}, "no cloud-init drive"),
        (STOPPED_VM, {"ip": "dhcp", "interface": 5, "storage": "local-lvm"}, "no network card net5"),
        (STOPPED_VM, {"ip": "dhcp", "gateway": "192.0.2.1"}, "fixed address"),
        (STOPPED_VM, {"ip": "192.0.2.5/24,gw=192.0.2.9"}, "prefix length"),
        (STOPPED_VM, {"searchdomain": "a,b"}, "DNS name"),
        (STOPPED_VM, {"user": "x", "storage": "local"}, "not images"),
    ],
)
async def test_cloud_init_that_makes_no_sense(bench: Bench, vmid: int, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        await do(bench, "guest.cloudinit", vmid, **args)
    assert bench.writes == []


# --- migration -------------------------------------------------------------------------------------------------------


async def test_a_running_machine_moves_live_with_its_disks(bench: Bench) -> None:
    plan = await do(bench, "guest.migrate", VM, target="pve2", dry_run=True)
    assert said(plan) == {"target": "pve2", "online": 1, "with-local-disks": 1}
    notes = " ".join(plan.notes)
    assert "moves live" in notes
    assert "local-lvm:vm-100-disk-0" in notes
    assert "can go to: pve2, pve3" in notes
    done = await do(bench, "guest.migrate", VM, target="pve2")
    assert (done.ok, done.details, done.state_after) == (True, {"node": "pve2"}, "running")
    assert bench.lab.guest(VM).node == "pve2"
    again = await do(bench, "guest.migrate", VM, target="pve2")
    assert (again.ok, again.changed, len(bench.writes)) == (True, False, 1)


async def test_a_container_is_restarted_there(bench: Bench) -> None:
    there = "pve1" if bench.lab.guest(CT).node != "pve1" else "pve2"
    plan = await do(bench, "guest.migrate", CT, target=there, timeout=30, dry_run=True)
    assert said(plan) == {"target": there, "restart": 1, "timeout": 30}
    assert any("stopped here and started there" in note for note in plan.notes)
    done = await do(bench, "guest.migrate", CT, target=there)
    assert (done.ok, done.state_after, bench.lab.guest(CT).node) == (True, "running", there)


@pytest.mark.parametrize("vmid", [STOPPED_VM, STOPPED_CT])
async def test_what_is_stopped_moves_offline(bench: Bench, vmid: int) -> None:
    there = "pve1" if bench.lab.guest(vmid).node != "pve1" else "pve2"
    done = await do(bench, "guest.migrate", vmid, target=there)
    assert (done.ok, done.state_after, bench.lab.guest(vmid).node) == (True, "stopped", there)
    assert said(
        await do(bench, "guest.migrate", vmid, target="pve3" if there != "pve3" else "pve1", dry_run=True)
    ).keys() == {"target"}


async def test_what_ha_manages_is_followed_until_it_is_there(bench: Bench) -> None:
    there = "pve1" if bench.lab.guest(HA_VM).node != "pve1" else "pve3"
    done = await do(bench, "guest.migrate", HA_VM, target=there)
    assert (done.ok, done.details) == (True, {"node": there})
    assert ":hamigrate:" in (done.upid or "")
    assert any("HA manages it" in note for note in done.notes)


async def test_what_is_in_the_way_is_found_first(bench: Bench) -> None:
    guest = bench.lab.guest(VM)
    with pytest.raises(ActionError, match="cannot be migrated offline"):
        await do(bench, "guest.migrate", VM, target="pve2", online=False)
    with pytest.raises(UnknownTargetError, match="no node pve9"):
        await do(bench, "guest.migrate", VM, target="pve9")
    with pytest.raises(ActionError, match="not images"):
        await do(bench, "guest.migrate", VM, target="pve2", target_storage="local")
    guest.config["ide2"] = ISO.replace("nas", "local") + ",media=cdrom"
    with pytest.raises(ActionError, match="CD drive"):
        await do(bench, "guest.migrate", VM, target="pve2")
    guest.config["hostpci0"] = "0000:01:00.0"
    with pytest.raises(ActionError, match="devices of pve1: hostpci0"):
        await do(bench, "guest.migrate", VM, target="pve2")
    bench.lab.guest(CT).config["mp0"] = "/srv/data,mp=/data"
    there = "pve1" if bench.lab.guest(CT).node != "pve1" else "pve2"
    with pytest.raises(ActionError, match="mounts a folder"):
        await do(bench, "guest.migrate", CT, target=there)
    bench.lab.world.power_node(bench.lab.world.nodes["pve3"], up=False)
    with pytest.raises(ActionError, match="offline"):
        await do(bench, "guest.migrate", STOPPED_VM, target="pve3")
    assert bench.writes == []


async def test_a_refused_node_says_why_and_where_else(bench: Bench) -> None:
    get = bench.client.get

    async def narrow(*segments: Any, **params: Any) -> Any:
        answer = await get(*segments, **params)
        if segments[-1] == "migrate":
            answer |= {
                "allowed_nodes": ["pve3"],
                "not_allowed_nodes": {"pve2": {"unavailable_storages": ["fast"]}},
                "dependent-ha-resources": ["vm:103"],
            }
        return answer

    bench.client.get = narrow  # type: ignore[method-assign]
    with pytest.raises(ActionError, match="cannot go to pve2: it has not the storage fast") as caught:
        await do(bench, "guest.migrate", VM, target="pve2")
    assert caught.value.cure == "It can go to: pve3."
    await do(bench, "guest.migrate", VM, target="pve3", dry_run=True)
    with pytest.raises(PolicyError, match="VM 103"):
        await do(bench, "guest.migrate", VM, target="pve3", permission=replace(OPEN, vmid_allowlist=frozenset({VM})))


async def test_both_nodes_must_be_on_the_list(bench: Bench) -> None:
    for listed in ("pve1", "pve2"):
        with pytest.raises(PolicyError, match="PROXMOX_NODE_ALLOWLIST"):
            await do(
                bench, "guest.migrate", VM, target="pve2", permission=replace(OPEN, node_allowlist=frozenset({listed}))
            )
    assert bench.writes == []


async def test_a_migration_that_fails_is_one(bench: Bench) -> None:
    bench.lab.fault("task-fail", "qmigrate", "migration aborted")
    done = await do(bench, "guest.migrate", VM, target="pve2")
    assert (done.ok, done.status, done.details) == (False, "failed", {"node": "pve1"})


# --- the end ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vmid", [STOPPED_VM, STOPPED_CT])
async def test_a_stopped_guest_becomes_a_template(bench: Bench, vmid: int) -> None:
    done = await do(bench, "guest.template", vmid)
    assert (done.ok, bench.lab.guest(vmid).template) == (True, True)
    again = await do(bench, "guest.template", vmid)
    assert (again.ok, again.changed) == (True, False)


async def test_what_cannot_become_a_template(bench: Bench) -> None:
    with pytest.raises(ActionError, match="running: it must be stopped"):
        await do(bench, "guest.template", VM)
    bench.lab.guest(STOPPED_VM).snapshots.append(Snapshot("kept", 1))
    with pytest.raises(ActionError, match="has snapshots: kept"):
        await do(bench, "guest.template", STOPPED_VM)
    assert bench.writes == []


@pytest.mark.parametrize("vmid", [STOPPED_VM, STOPPED_CT])
async def test_a_stopped_guest_is_deleted_with_its_disks(bench: Bench, vmid: int) -> None:
    guest = bench.lab.guest(vmid)
    job = next(iter(bench.lab.world.backup_jobs.values()))
    job.vmids = (*job.vmids, vmid)
    plan = await do(bench, "guest.delete", vmid, dry_run=True)
    assert said(plan) == {"purge": 0, "destroy-unreferenced-disks": 0}
    assert f"vm-{vmid}-disk-0" in plan.notes[0]
    assert any(job.ident in note and "purge=false" in note for note in plan.notes)
    done = await do(bench, "guest.delete", vmid, purge=True)
    assert done.ok
    assert done.message.endswith(f"{vmid} ({guest.name}): it is gone.")
    assert vmid not in bench.lab.world.guests
    assert vmid not in job.vmids


async def test_what_is_not_deleted(bench: Bench) -> None:
    with pytest.raises(ActionError, match="running: it must be stopped"):
        await do(bench, "guest.delete", VM)
    bench.lab.world.replication["121-0"] = Replication("121-0", "pve2")
    with pytest.raises(ActionError, match="it is replicated") as caught:
        await do(bench, "guest.delete", STOPPED_VM)
    assert "purge=true" in caught.value.cure
    assert bench.writes == []
    done = await do(bench, "guest.delete", STOPPED_VM, purge=True)
    assert done.ok
    assert any("121-0 to pve2" in note for note in done.notes)


async def test_a_deletion_needs_an_approval_that_holds_for_it_alone(bench: Bench) -> None:
    async with Approvals(bench.folder, SETTINGS) as approvals:
        actions = bench.actions(PermissionSettings(mcp_allow="exec"), approvals=approvals)

        async def order(approval: str | None = None, **args: Any) -> Any:
            return await actions.perform(
                AGENT, "guest.delete", GuestRef(STOPPED_VM), args=args, approval=approval, timeout=60
            )

        asked = await order()
        assert (asked.status, asked.ok) == ("approval_required", False)
        shown = await approvals.get(asked.approval.id)
        assert shown is not None
        assert any("disks are destroyed" in note for note in shown.notes)
        await approvals.decide(asked.approval.id, "approve", Decider("alice", "secret"))
        with pytest.raises(PolicyError, match="stale"):
            await order(asked.approval.id, purge=True)
        other = await order()
        await approvals.decide(other.approval.id, "approve", Decider("alice", "secret"))
        bench.lab.guest(STOPPED_VM).config["cores"] = 9
        with pytest.raises(PolicyError, match="stale"):
            await order(other.approval.id)
        assert STOPPED_VM in bench.lab.world.guests
        last = await order()
        await approvals.decide(last.approval.id, "approve", Decider("alice", "secret"))
        assert (await order(last.approval.id)).ok


async def test_our_own_guest_is_not_ended_or_restarted_elsewhere_without_an_approval(bench: Bench) -> None:
    uuid = bench.lab.guest(STOPPED_VM).config["smbios1"].removeprefix("uuid=")
    actions = bench.actions(me=Identity(frozenset({UUID(uuid)})))
    for action in ("guest.delete", "guest.template"):
        with pytest.raises(PolicyError, match="runs on"):
            await actions.perform(ROOT, action, GuestRef(STOPPED_VM))
    mine = bench.actions(replace(OPEN, self_guests=frozenset({CT, VM})))
    there = "pve1" if bench.lab.guest(CT).node != "pve1" else "pve2"
    with pytest.raises(PolicyError, match="runs on"):
        await mine.perform(ROOT, "guest.migrate", GuestRef(CT), args={"target": there})
    assert (await mine.perform(ROOT, "guest.migrate", GuestRef(VM), args={"target": "pve2"}, timeout=60)).ok


async def test_a_template_is_cloned_while_it_is_there(bench: Bench) -> None:
    """Clones of one template run beside each other."""
    done = await asyncio.gather(*(do(bench, "guest.clone", TEMPLATE, newid=700 + n) for n in range(3)))
    assert all(result.ok for result in done)
