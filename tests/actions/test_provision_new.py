"""New guests on the lab: made, cloned, and images for them; what is refused, and that nobody gets another's id."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError, Actions, find
from mqtt_bridge.actions.volumes import owner_of
from mqtt_bridge.approvals import Approvals, Decider
from mqtt_bridge.errors import ForbiddenError, PolicyError, UnknownTargetError
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import ApiSettings, PermissionSettings
from mqtt_bridge.targets import GuestRef, NodeRef
from proxmox_mcp.lab.state import GIB, Volume
from tests.actions.provision_bench import (
    CT,
    HOSTS,
    ISO,
    KEY,
    OPEN,
    STOPPED_CT,
    TAR,
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
SUM = "0123456789abcdef" * 4


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "state") as ready:
        yield ready


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as entered:
        yield entered


async def test_a_machine_is_made_as_the_wizard_makes_it(bench: Bench) -> None:
    plan = await do(bench, "vm.create", "pve1", name="web9", dry_run=True)
    assert said(plan) == {
        "vmid": plan.target, "name": "web9", "cores": 1, "sockets": 1, "memory": 2048, "cpu": "x86-64-v2-AES",
        "ostype": "l26", "scsihw": "virtio-scsi-single", "scsi0": "ceph-vm:32,iothread=1",
        "net0": "virtio,bridge=vmbr0,firewall=1", "boot": "order=scsi0;net0", "start": 0,
    }  # fmt: skip
    assert bench.writes == []
    made = await do(bench, "vm.create", "pve1", name="web9", start=True)
    assert (made.ok, made.status, made.state_after) == (True, "done", "running")
    guest = bench.lab.guest(made.details["vmid"])
    assert (guest.name, guest.node, guest.running) == ("web9", "pve1", True)
    assert guest.config["scsi0"].endswith("size=32G")
    assert bench.told == [("lab", guest.vmid)]


async def test_a_machine_with_all_that_can_be_asked_for(bench: Bench) -> None:
    made = await do(
        bench, "vm.create", "pve1", vmid=700, name="all", cores=2, sockets=2, memory=4096, cpu="host", ostype="win11",
        uefi=True, storage="local-lvm", disk=20, iso=ISO, cloudinit=True, bridge="vmbr1", vlan=42, agent=True,
        onboot=True, tags=["b", "a"], pool="dev", description="two\nlines",
    )  # fmt: skip
    assert made.ok, made
    config = bench.lab.guest(700).config
    assert config["ide2"].startswith(f"{ISO},media=cdrom")
    assert "cloudinit" in config["ide0"]
    assert config["boot"] == "order=scsi0;ide2;net0"
    assert config["net0"].endswith("bridge=vmbr1,firewall=1,tag=42")
    assert (config["bios"], config["agent"], config["onboot"], config["tags"]) == ("ovmf", "1", 1, "b;a")
    assert config["efidisk0"].startswith("local-lvm:")
    assert bench.lab.guest(700).pool == "dev"


async def test_an_image_becomes_the_disk_and_is_grown(bench: Bench) -> None:
    image = importable(bench)
    made = await do(bench, "vm.create", "pve1", import_from=image, disk=20, cloudinit=True, start=True)
    assert made.ok, made
    guest = bench.lab.guest(made.details["vmid"])
    assert guest.config["scsi0"].endswith("size=20G")
    assert "cloudinit" in guest.config["ide2"]
    path = f"/nodes/pve1/qemu/{guest.vmid}"
    assert bench.writes == ["POST /nodes/pve1/qemu", f"PUT {path}/resize", f"POST {path}/status/start"]
    with pytest.raises(ActionError, match="larger than 2 GiB") as caught:
        await do(bench, "vm.create", "pve1", import_from=image, disk=2)
    assert "disk=3" in caught.value.cure


def importable(bench: Bench) -> str:
    local = bench.lab.world.storages["local"]
    local.content += ",import"
    local.on("pve1").append(Volume("local:import/debian.qcow2", "import", "qcow2", 3 * GIB, 1_770_000_000))
    return "local:import/debian.qcow2"


async def test_another_s_disk_is_an_object_of_the_policy(bench: Bench) -> None:
    disk = bench.lab.guest(VM).config["scsi0"].partition(",")[0]
    made = await do(bench, "vm.create", "pve1", import_from=disk)
    assert made.ok
    assert bench.records[0]["guests"] == [made.target, VM]
    own = replace(OPEN, vmid_allowlist=frozenset({700, 701}))
    with pytest.raises(PolicyError, match=r"VM 100 \(web01\)"):
        await do(bench, "vm.create", "pve1", permission=own, vmid=700, import_from=disk)
    bench.lab.world.storages["local-lvm"].on("pve1").append(
        Volume("local-lvm:vm-999-disk-0", "images", "raw", GIB, 1, 999)
    )
    with pytest.raises(ActionError, match="guest 999, which is not there"):
        await do(bench, "vm.create", "pve1", import_from="local-lvm:vm-999-disk-0")


@pytest.mark.parametrize(
    ("volid", "owner"),
    [
        ("local:100/vm-100-disk-0.qcow2", 100), ("pool:vm-101-disk-0", 101), ("zfs:subvol-102-disk-1", 102),
        ("local:9000/base-9000-disk-0.qcow2/131/vm-131-disk-0.qcow2", 131), ("local:iso/vm-1-x.iso", 1),
        ("local:iso/debian.iso", None),
    ],
)  # fmt: skip
def test_whose_a_disk_is_by_its_name(volid: str, owner: int | None) -> None:
    assert owner_of(volid) == owner


async def test_a_container_is_unprivileged_and_its_password_is_seen_by_nobody(bench: Bench) -> None:
    order: dict[str, Any] = {
        "template": TAR, "name": "ct9", "password": HIDDEN, "ssh_keys": [KEY], "ip": "192.0.2.5/24",
        "gateway": "192.0.2.1", "ip6": "auto", "nameserver": ["192.0.2.53", "2001:db8::53"], "storage": "local-lvm",
    }  # fmt: skip
    plan = await do(bench, "lxc.create", "pve1", dry_run=True, **order)
    assert said(plan)["password"] == "********"
    assert (said(plan)["unprivileged"], said(plan)["features"], said(plan)["rootfs"]) == (1, "nesting=1", "local-lvm:8")
    assert said(plan)["net0"] == "name=eth0,bridge=vmbr0,firewall=1,ip=192.0.2.5/24,gw=192.0.2.1,ip6=auto"
    post, sent = bench.client.post, []

    async def noting(*segments: Any, **params: Any) -> Any:
        sent.append(params)
        return await post(*segments, **params)

    bench.client.post = noting  # type: ignore[method-assign]
    made = await do(bench, "lxc.create", "pve1", start=True, **order)
    assert (sent[0]["password"], sent[0]["ssh-public-keys"]) == (HIDDEN, KEY)
    assert (made.ok, made.state_after) == (True, "running")
    assert bench.lab.guest(made.details["vmid"]).config["nameserver"] == "192.0.2.53 2001:db8::53"
    assert HIDDEN not in f"{plan!r}{made!r}{written(bench)}"


async def test_a_privileged_container_is_said_to_be_one(bench: Bench) -> None:
    plan = await do(bench, "lxc.create", "pve1", template=TAR, unprivileged=False, dry_run=True)
    assert "root on the node" in plan.notes[0]
    assert (said(plan)["unprivileged"], "features" in said(plan)) == (0, False)


@pytest.mark.parametrize(
    ("action", "args", "says"),
    [
        ("vm.create", {"bridge": "vmbr0,firewall=0"}, "bridge's name"),
        ("vm.create", {"iso": "/etc/passwd"}, "no volume id"),
        ("vm.create", {"iso": "nas:iso/../../x.iso"}, "no volume id"),
        ("vm.create", {"import_from": "local:import/a.qcow2,cache=unsafe"}, "no volume id"),
        ("vm.create", {"args": "-device x"}, "no argument args"),
        ("vm.create", {"hostpci0": "00:01.0"}, "no argument hostpci0"),
        ("vm.create", {"cpu": "host,flags=+x"}, "CPU type"),
        ("vm.create", {"name": "a b"}, "DNS name"),
        ("vm.create", {"tags": ["a;b"]}, "letters, digits"),
        ("vm.create", {"memory": "2048"}, "whole number"),
        ("vm.create", {"vmid": 99}, "greater than or equal"),
        ("vm.create", {"diskless": True, "disk": 5}, "diskless goes without"),
        ("lxc.create", {"template": TAR, "gateway": "192.0.2.1"}, "fixed address"),
        ("lxc.create", {"template": TAR, "ip": "192.0.2.5"}, "prefix length"),
        ("lxc.create", {"template": TAR, "ssh_keys": ["command=x ssh-rsa AAAA"]}, "OpenSSH public key"),
        ("lxc.create", {"template": TAR, "password": "four"}, "5 to 256"),
        ("lxc.create", {"template": TAR, "hookscript": "local:snippets/x"}, "no argument hookscript"),
        ("lxc.create", {"template": TAR, "mp0": "/etc,mp=/host"}, "no argument mp0"),
        ("lxc.create", {"template": TAR, "unprivileged": False, "nesting": True}, "no token"),
        ("lxc.create", {}, "needs the argument template"),
        ("guest.clone", {"storage": "nas", "full": False}, "full clones only"),
    ],
)
def test_arguments_that_are_not_taken(action: str, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        find(action).arguments(args)


async def test_what_makes_no_sense_is_refused_before_anything_is_sent(bench: Bench) -> None:
    for error, args, says in (
        (UnknownTargetError, {"storage": "nosuch"}, "no storage nosuch"),
        (ActionError, {"storage": "local"}, "not images"),
        (ActionError, {"iso": "nas:iso/none.iso"}, "no volume nas:iso/none.iso"),
        (ActionError, {"iso": bench.lab.guest(VM).config["scsi0"].partition(",")[0]}, "of content images"),
        (ActionError, {"pool": "nosuch"}, "no pool nosuch"),
        (ActionError, {"vmid": VM}, "a guest 100 already"),
    ):
        with pytest.raises(error, match=says):
            await do(bench, "vm.create", "pve1", **args)
    with pytest.raises(ActionError, match="not rootdir"):
        await do(bench, "lxc.create", "pve1", template=TAR, storage="nas")
    with pytest.raises(UnknownTargetError, match="no node pve9"):
        await do(bench, "vm.create", "pve9")
    assert bench.writes == []


async def test_what_a_new_guest_will_be_must_be_inside_every_list(bench: Bench) -> None:
    for permission, says in (
        (replace(OPEN, pool_allowlist=frozenset({"dev"})), "in no pool"),
        (replace(OPEN, vmid_allowlist=frozenset({VM})), "PROXMOX_VMID_ALLOWLIST"),
        (replace(OPEN, node_allowlist=frozenset({"pve2"})), "node pve1"),
        (replace(OPEN, mcp_allow="operate"), None),
    ):
        if says is None:
            continue
        with pytest.raises(PolicyError, match=says):
            await do(bench, "vm.create", "pve1", permission=permission)
    assert bench.writes == []
    inside = replace(OPEN, pool_allowlist=frozenset({"dev"}))
    assert (await do(bench, "vm.create", "pve1", permission=inside, pool="dev")).ok


async def test_without_the_privilege_proxmox_refuses(bench: Bench, stack: AsyncExitStack) -> None:
    reader = await stack.enter_async_context(client_of(bench.lab, account="audit@pve!ro"))
    with pytest.raises(ForbiddenError, match=r"VM\.Allocate") as caught:
        await do(bench, "vm.create", "pve1", clients={"lab": reader}, vmid=700)
    assert "pveum acl modify /vms/700" in caught.value.cure
    with pytest.raises(ForbiddenError, match=r"VM\.Clone"):
        await do(bench, "guest.clone", VM, clients={"lab": reader}, newid=700)
    assert 700 not in bench.lab.world.guests


async def test_a_creation_that_fails_says_what_is_left(bench: Bench) -> None:
    bench.lab.fault("task-fail", "qmcreate", "lvcreate failed: no space")
    made = await do(bench, "vm.create", "pve1", vmid=700)
    assert (made.ok, made.status) == (False, "failed")
    assert "no space" in made.message


# --- clones ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vmid", "full"), [(TEMPLATE, 0), (VM, 1), (STOPPED_CT, 1)])
async def test_a_clone_of_each_kind(bench: Bench, vmid: int, full: int) -> None:
    plan = await do(bench, "guest.clone", vmid, newid=700, name="copy", dry_run=True)
    assert said(plan)["full"] == full
    done = await do(bench, "guest.clone", vmid, newid=700, name="copy")
    assert (done.ok, done.target, done.details["vmid"]) == (True, vmid, 700)
    clone, source = bench.lab.guest(700), bench.lab.guest(vmid)
    assert (clone.kind, clone.name, clone.tags, clone.lock) == (source.kind, "copy", source.tags, "")
    assert bench.told == [("lab", vmid), ("lab", 700)]


async def test_a_clone_to_another_node_storage_and_pool(bench: Bench) -> None:
    done = await do(bench, "guest.clone", TEMPLATE, target="pve2", storage="ceph-vm", pool="dev", name="far")
    assert done.ok, done
    clone = bench.lab.guest(done.details["vmid"])
    assert (clone.node, clone.pool) == ("pve2", "dev")
    assert clone.config["scsi0"].startswith("ceph-vm:")
    with pytest.raises(ActionError, match="local-lvm is not shared") as caught:
        await do(bench, "guest.clone", VM, target="pve2")
    assert "migrate the clone" in caught.value.cure


async def test_a_clone_of_a_snapshot(bench: Bench) -> None:
    running = next(g for g in bench.lab.world.sorted_guests() if g.kind == "lxc" and g.running and g.snapshots)
    with pytest.raises(ActionError, match="from a snapshot only"):
        await do(bench, "guest.clone", running.vmid)
    with pytest.raises(ActionError, match="no snapshot nosuch") as caught:
        await do(bench, "guest.clone", running.vmid, snapshot="nosuch")
    assert "before-upgrade" in caught.value.cure
    assert (await do(bench, "guest.clone", running.vmid, snapshot="before-upgrade", full=True)).ok


async def test_clones_that_are_refused(bench: Bench) -> None:
    with pytest.raises(ActionError, match="no template"):
        await do(bench, "guest.clone", VM, full=False)
    bench.lab.fault("guest-lock", VM, "backup")
    with pytest.raises(ActionError, match="locked"):
        await do(bench, "guest.clone", VM)
    with pytest.raises(PolicyError, match="CT 700"):
        await do(bench, "guest.clone", CT, newid=700, permission=replace(OPEN, vmid_allowlist=frozenset({CT})))
    with pytest.raises(PolicyError, match=r"CT 109"):
        await do(bench, "guest.clone", CT, newid=700, permission=replace(OPEN, vmid_allowlist=frozenset({700})))
    spared = replace(OPEN, protected_tags=frozenset(bench.lab.guest(STOPPED_CT).tags.split(";")))
    assert (await do(bench, "guest.clone", STOPPED_CT, permission=spared)).ok


# --- ids -------------------------------------------------------------------------------------------------------------


async def test_creations_at_once_get_an_id_each(bench: Bench, stack: AsyncExitStack) -> None:
    busy = await stack.enter_async_context(unlimited(bench))
    actions = bench.actions(clients={"lab": busy})
    orders = [actions.perform(AGENT, "vm.create", NodeRef("pve1"), args={}, timeout=100) for _ in range(8)]
    orders += [actions.perform(AGENT, "guest.clone", GuestRef(TEMPLATE), args={}, timeout=100) for _ in range(8)]
    made = [result.details["vmid"] for result in await asyncio.gather(*orders)]
    assert len(set(made)) == 16
    assert all(not bench.lab.guest(vmid).lock for vmid in made)


async def test_creations_of_two_processes_get_an_id_each(bench: Bench, stack: AsyncExitStack) -> None:
    token, host = bench.lab.account("root@pam!full"), bench.lab.hosts["pve1"]
    where = json.dumps([host.port, bench.lab.fingerprint, token.user, token.name, token.value])
    busy = await stack.enter_async_context(unlimited(bench))
    ours = asyncio.gather(*(two_clones(bench.actions(clients={"lab": busy})) for _ in range(2)))
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.actions.creating", where, str(bench.folder), stdout=asyncio.subprocess.PIPE
    )
    (printed, _), mine = await asyncio.gather(child.communicate(), ours)
    assert child.returncode == 0
    theirs = json.loads(printed)
    made = [*theirs, *(vmid for pair in mine for vmid in pair)]
    assert (len(theirs), len(made), len(set(made))) == (6, 10, 10)


async def two_clones(actions: Actions) -> list[int]:
    """With ids of its own, as another process has them."""
    done = [await actions.perform(AGENT, "guest.clone", GuestRef(TEMPLATE), args={}, timeout=100) for _ in range(2)]
    return [result.details["vmid"] for result in done]


def unlimited(bench: Bench) -> ProxmoxClient:
    """A client that may ask as often as it likes: PROXMOX_RATE_LIMIT is not what is tested."""
    return ProxmoxClient(bench.client.site, ApiSettings(timeout=20, rate_limit=100_000))


async def test_an_id_that_was_taken_meanwhile_is_replaced(bench: Bench) -> None:
    """Proxmox refuses the second; a caller's own id is not replaced."""
    held = await do(bench, "vm.create", "pve1", dry_run=True)
    post = bench.client.post
    stolen: list[int] = []

    async def thief(*segments: Any, **params: Any) -> Any:
        if segments[-1] == "qemu" and not stolen:
            stolen.append(params["vmid"])
            await post(*segments, vmid=params["vmid"], name="thief")
        return await post(*segments, **params)

    bench.client.post = thief  # type: ignore[method-assign]
    made = await do(bench, "vm.create", "pve1", name="mine")
    assert made.ok
    assert stolen == [held.target]
    assert made.details["vmid"] not in stolen
    assert bench.lab.guest(made.details["vmid"]).name == "mine"


async def test_an_approval_holds_for_the_id_that_was_chosen_and_for_these_arguments(bench: Bench) -> None:
    ask = PermissionSettings(mcp_allow="exec", approval_required=frozenset({"change"}))
    async with Approvals(bench.folder, SETTINGS) as approvals:
        actions = bench.actions(ask, approvals=approvals)

        async def order(approval: str | None = None, **args: Any) -> Any:
            return await actions.perform(
                AGENT, "lxc.create", NodeRef("pve1"), args={"template": TAR, "password": HIDDEN, **args},
                approval=approval, timeout=60,
            )  # fmt: skip

        asked = await order()
        assert asked.status == "approval_required"
        shown = await approvals.get(asked.approval.id)
        assert HIDDEN not in f"{shown!r}{asked!r}"
        await approvals.decide(asked.approval.id, "approve", Decider("alice", "secret"))
        with pytest.raises(PolicyError, match="stale"):
            await order(asked.approval.id, memory=1024)
        again = await order()
        await approvals.decide(again.approval.id, "approve", Decider("alice", "secret"))
        done = await order(again.approval.id)
        assert (done.ok, done.target) == (True, again.target)


# --- images ----------------------------------------------------------------------------------------------------------


async def test_an_image_is_downloaded_with_its_checksum(bench: Bench) -> None:
    url = "https://user:secret-1@cloud.debian.org/images/debian.iso?key=secret-2"
    plan = await do(bench, "image.download", "nas", url=url, checksum=f"sha256:{SUM}", content="iso", dry_run=True)
    assert said(plan) == {
        "url": "https://********@cloud.debian.org/images/debian.iso?key=********", "content": "iso",
        "filename": "debian.iso", "checksum": SUM, "checksum-algorithm": "sha256", "verify-certificates": 1,
    }  # fmt: skip
    done = await do(bench, "image.download", "nas", url=url, checksum=SUM, content="iso")
    assert (done.ok, done.details["volid"]) == (True, "nas:iso/debian.iso")
    assert "secret-" not in f"{plan!r}{done!r}{written(bench)}"
    with pytest.raises(ActionError, match="nas:iso/debian.iso already"):
        await do(bench, "image.download", "nas", url=url, checksum=SUM, content="iso")


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/x.iso", "https://cloud.debian.org.evil.example/x.iso", "https://cloud.debian.org:8443/x.iso",
        "https://cloud.debian.org@evil.example/x.iso", "https://example.org/x.iso", "https://host.example.net/x.iso",
        "https://xcloud.debian.org/x.iso", "https://169.254.169.254/x.iso",
    ],
)  # fmt: skip
async def test_other_hosts_are_refused(bench: Bench, url: str) -> None:
    with pytest.raises(PolicyError, match="IMAGE_URL_ALLOWLIST"):
        await do(bench, "image.download", "nas", url=url, checksum=SUM, content="iso")
    assert bench.writes == []


async def test_hosts_below_a_star_and_with_a_port_pass(bench: Bench) -> None:
    for url in ("https://a.b.example.org/1.iso", "https://HOST.example.net:8443/2.iso"):
        assert (await do(bench, "image.download", "nas", url=url, checksum=SUM, content="iso", dry_run=True)).allowed
    none = replace(HOSTS, image_url_allowlist=frozenset())
    url = "https://cloud.debian.org/1.iso"
    with pytest.raises(PolicyError):
        await do(bench, "image.download", "nas", permission=none, url=url, checksum=SUM, content="iso")


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"url": "http://cloud.debian.org/x.iso"}, "https URL"),
        ({"url": "file:///etc/passwd"}, "https URL"),
        ({"url": "https://cloud.debian.org\\@evil.example/x.iso"}, "https URL"),
        ({"url": "https://cloud.debian.org/a b.iso"}, "https URL"),
        ({"url": "https://cloud.debian.org:99999/x.iso"}, "https URL"),
        ({"url": "https://[::1]/x.iso"}, "host must be a name"),
        ({"checksum": "abc"}, "SHA-256"),
        ({"checksum": "a" * 32}, "SHA-256"),
        ({"checksum": None}, "needs the argument checksum"),
        ({"content": "snippets"}, "content"),
        ({"filename": "../x.iso"}, "file's name"),
        ({"url": "https://cloud.debian.org/"}, "give filename"),
        ({"content": "vztmpl"}, "must end in"),
    ],
)
def test_downloads_that_are_not_taken(args: dict[str, Any], says: str) -> None:
    good = {"url": "https://cloud.debian.org/x.iso", "checksum": SUM, "content": "iso"}
    with pytest.raises(ActionError, match=says):
        find("image.download").arguments(good | args)


async def test_a_storage_that_takes_no_such_content(bench: Bench) -> None:
    with pytest.raises(ActionError, match="not import"):
        await do(bench, "image.download", "nas", url="https://cloud.debian.org/x.qcow2", checksum=SUM, content="import")
