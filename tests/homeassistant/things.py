"""One thing of each kind, and what their configurations depend on."""

from collections.abc import Mapping
from typing import Any

from mqtt_bridge.homeassistant.chosen import Chosen
from mqtt_bridge.homeassistant.may import May
from mqtt_bridge.homeassistant.payload import Around
from mqtt_bridge.homeassistant.thing import Key, Thing
from mqtt_bridge.model import (
    ClusterState,
    DatastoreState,
    DiskState,
    GuestState,
    NodeState,
    StorageState,
    ZfsPoolState,
)
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.topics import Topics

PRIVILEGES = (
    "VM.Audit", "VM.GuestAgent.Audit", "VM.PowerMgmt", "VM.Snapshot", "VM.Backup", "VM.Migrate", "VM.Config.Disk",
    "Sys.Audit", "Sys.Modify", "Sys.PowerMgmt", "Datastore.Audit", "Datastore.AllocateSpace", "Datastore.Verify",
    "Datastore.Modify",
)  # fmt: skip
ALL: Mapping[str, Mapping[str, Any]] = {"/": dict.fromkeys(PRIVILEGES, 1)}
AUDITOR: Mapping[str, Mapping[str, Any]] = {"/": {"VM.Audit": 1, "Sys.Audit": 1, "Datastore.Audit": 1}}


def guest(vmid: int = 100, **changes: Any) -> Thing:
    fields = {"type": "qemu", "name": "web01", "node": "pve1", "status": "running", "available": True, **changes}
    twin = fields.pop("twin", False)
    state = GuestState(site="lab", vmid=vmid, **fields)
    return Thing(Key.of("guest", {"site": "lab", "vmid": vmid}), state, twin)


def node(name: str = "pve1", site: str = "lab", **changes: Any) -> Thing:
    fields = {"status": "online", "available": True, "version": "pve-manager/9.2.11/abc", "cpu_model": "A CPU"}
    return Thing(Key.of("node", {"site": site, "node": name}), NodeState(site=site, node=name, **{**fields, **changes}))


def cluster(kind: str = "cluster", site: str = "lab") -> Thing:
    return Thing(Key.of("cluster", {"site": site}), ClusterState(site=site, name=site, kind=kind, quorate=True))


def storage(node: str | None = "pve1", name: str = "local.lvm") -> Thing:
    state = StorageState(
        site="lab", storage=name, node=node, nodes=("pve1",), shared=node is None, type="dir", status="available",
        available=True, used=1, total=2, used_percent=50.0,
    )  # fmt: skip
    topic = "storage" if node else "shared_storage"
    return Thing(Key.of(topic, {"site": "lab", "node": str(node), "storage": name}), state)


def datastore() -> Thing:
    return Thing(
        Key.of("datastore", {"site": "pbs1", "store": "main"}),
        DatastoreState(site="pbs1", store="main", available=True),
    )


def disk(**changes: Any) -> Thing:
    fields = {"disk": "S5GX_1", "dev": "nvme0n1", "model": "A disk", "serial": "S5GX/1", "type": "nvme", **changes}
    state = DiskState(site="lab", node="pve1", available=True, health="PASSED", temperature_c=41, **fields)
    return Thing(Key.of("disk", {"site": "lab", "node": "pve1", "disk": state.disk}), state)


def zpool() -> Thing:
    state = ZfsPoolState(site="lab", node="pve1", pool="rpool", available=True, health="ONLINE")
    return Thing(Key.of("zpool", {"site": "lab", "node": "pve1", "pool": "rpool"}), state)


THINGS: Mapping[str, Thing] = {
    "cluster": cluster(),
    "standalone": cluster("standalone", "pve"),
    "pbs": cluster("pbs", "pbs1"),
    "node": node(),
    "pbs-host": node("pbs1", "pbs1", version="proxmox-backup-server/4.2"),
    "vm": guest(),
    "ct": guest(102, type="lxc", name="dns"),
    "storage": storage(),
    "shared-storage": storage(None, "nas"),
    "datastore": datastore(),
    "disk": disk(),
    "zpool": zpool(),
}


def around(*entities: str, granted: Mapping[str, Mapping[str, Any]] = ALL, **permission: Any) -> Around:
    """With everything allowed, unless said."""
    allowed = PermissionSettings(**{"mqtt_allow": "destroy", **permission})
    return Around(
        Topics(), "main", Chosen(entities), May(allowed), lambda _: granted, lambda _: "https://192.0.2.1:8006",
        frozenset({"pbs1"}),
    )  # fmt: skip
