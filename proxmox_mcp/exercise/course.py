"""What is tried, in an order in which it makes sense: rows of a tool, its arguments and what is expected of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from proxmox_mcp.exercise.ground import MARK, Ground

Expected = Literal["ok", "refused", "either"]
Given = Mapping[str, Any]
NOWHERE = "pmcp-nowhere"  # a node, storage, datastore or pool that nobody has
UPID = "UPID:nowhere:00000001:00000001:6B00E880:qmstart:100:root@pam:"


@dataclass(frozen=True)
class Try:
    """One call. `needs`: what must be there, else it is left out. `either`: where it depends on the place.

    `makes`: an id that is a guest's from then on. `patient`: asked again until it is ok: a mirror lags a little.
    """

    tool: str
    what: str
    given: Callable[[Ground], Given]
    expect: Expected = "ok"
    needs: Callable[[Ground], object] = lambda _ground: True
    makes: Callable[[Ground], int] | None = None
    patient: bool = False


def _no(tool: str, what: str, **given: Any) -> Try:
    return Try(tool, what, lambda _ground: given, "refused")


def _read(tool: str, what: str = "read", **given: Any) -> Try:
    return Try(tool, what, lambda _ground: given)


def _vm(tool: str, what: str, /, expect: Expected = "ok", **given: Any) -> Try:
    return Try(tool, what, lambda g: {"vmid": g.vm, **given}, expect)


def _ct(tool: str, what: str, /, expect: Expected = "ok", **given: Any) -> Try:
    return Try(tool, what, lambda g: {"vmid": g.ct, **given}, expect, needs=lambda g: g.ct in g.guests)


def _nobody(tool: str, **given: Any) -> Try:
    return Try(tool, "a guest that does not exist", lambda g: {"vmid": g.nobody, **given}, "refused")


def _marks(g: Ground, name: str) -> dict[str, Any]:
    return {"node": g.node, "name": f"{MARK}-{name}", "tags": [MARK], "pool": g.pool, "bridge": g.bridge}


READS: tuple[Try, ...] = (
    _read("get_cluster_status"),
    _no("get_cluster_status", "an unknown site", site=NOWHERE),
    Try("get_nodes", "read", lambda g: {"site": g.site}, patient=True),
    _no("get_nodes", "an unknown argument", nonsense=1),
    Try("get_node_status", "read", lambda g: {"node": g.node}, patient=True),
    _no("get_node_status", "an unknown node", node=NOWHERE),
    _read("get_vms", limit=5),
    _no("get_vms", "a cursor of nobody", cursor=NOWHERE),
    _read("get_lxcs", limit=5),
    _no("get_lxcs", "a cursor of nobody", cursor=NOWHERE),
    _read("get_storage"),
    _no("get_storage", "a wrong number", min_used_percent="much"),
    _read("get_recent_tasks", limit=5),
    _no("get_recent_tasks", "a wrong moment", since="yesterday-ish"),
    _no("get_task", "a task that never was", upid=UPID),
    _read("get_events", limit=5),
    _no("get_events", "a wrong severity", min_severity="dreadful"),
    _read("run_diagnostic"),
    _no("run_diagnostic", "an unknown check", checks=[NOWHERE]),
    _read("test_connectivity"),
    _no("test_connectivity", "an unknown argument", nonsense=1),
    _read("get_network_info", limit=5),
    _no("get_network_info", "a wrong number", vmid="many"),
    _read("get_permissions"),
    _no("get_permissions", "an unknown argument", nonsense=1),
    _read("get_approvals"),
    _no("get_approvals", "a wrong state", state="dreaming"),
    Try("get_metrics_history", "read", lambda g: {"node": g.node}),
    _no("get_metrics_history", "an unknown node", node=NOWHERE),
    Try("get_logs", "read", lambda g: {"node": g.node, "limit": 5}),
    _no("get_logs", "an unknown node", node=NOWHERE),
    _read("get_pools"),
    _no("get_pools", "an unknown argument", nonsense=1),
    _read("get_ha_resources"),
    _no("get_ha_resources", "an unknown argument", nonsense=1),
    _read("get_firewall_rules"),
    _no("get_firewall_rules", "an unknown node", node=NOWHERE),
    _read("get_replication"),
    _no("get_replication", "an unknown argument", nonsense=1),
    _read("get_backup_info", limit=5),
    _no("get_backup_info", "a wrong number", older_than_days="many"),
    Try("get_datastores", "read", lambda _: {}, needs=lambda g: g.datastore),
    _no("get_datastores", "an unknown argument", nonsense=1),
    Try("get_next_vmid", "read", lambda g: {"vmid": g.nobody}),
    _no("get_next_vmid", "an id below 100", vmid=5),
    Try("list_images", "read", lambda g: {"node": g.node}),
    _no("list_images", "a wrong type", type="holiday"),
)

MAKING: tuple[Try, ...] = (
    Try(
        "create_vm", "a virtual machine",
        lambda g: {**_marks(g, "vm"), "vmid": g.vm, "storage": g.disks, "disk": 1, "memory": 256, "agent": True},
        makes=lambda g: g.vm,
    ),
    Try("create_vm", "an id that is taken", lambda g: {**_marks(g, "vm"), "vmid": g.vm, "diskless": True}, "refused"),
    Try(
        "create_lxc", "a container",
        lambda g: {**_marks(g, "ct"), "vmid": g.ct, "template": g.template, "storage": g.rootfs, "disk": 1,
                   "memory": 128},
        needs=lambda g: g.template and g.rootfs, makes=lambda g: g.ct,
    ),
    Try(
        "create_lxc", "a template that is not there",
        lambda g: {**_marks(g, "ct"), "vmid": g.nobody, "template": f"{g.disks}:vztmpl/{NOWHERE}.tar.zst"}, "refused",
    ),
    Try("get_task", "the last task", lambda g: {"upid": g.upid}),
    Try("get_guest", "the virtual machine", lambda g: {"vmid": g.vm}, patient=True),
    _nobody("get_guest"),
    Try(
        "download_image", "the image that was named",
        lambda g: {"url": g.picture.url, "checksum": g.picture.sha256, "storage": g.picture.storage, "content": "iso",
                   "filename": f"{MARK}.iso", "node": g.node} if g.picture else {},
        needs=lambda g: g.picture,
    ),
    Try(
        "download_image", "a host that is not listed",
        lambda g: {"url": "https://not-listed.invalid/x.iso", "checksum": "a" * 64, "storage": g.disks,
                   "content": "iso"},
        "refused",
    ),
    _vm("update_guest", "cores and description", cores=2, description="made by proxmox-mcp exercise"),
    _ct("update_guest", "swap and tags", swap=64, tags=[MARK, "exercise"]),
    _vm("update_guest", "swap, which only containers have", expect="refused", swap=64),
    Try("set_cloudinit", "a user and DHCP, with a new drive",
        lambda g: {"vmid": g.vm, "storage": g.disks, "user": "exercise", "ip": "dhcp"}),
    _ct("set_cloudinit", "a container", expect="refused", user="exercise"),
    _nobody("set_cloudinit", user="exercise"),
    Try("add_disk", "scsi1, 1 GiB", lambda g: {"vmid": g.vm, "storage": g.disks, "size_gb": 1, "disk": "scsi1"}),
    Try("add_disk", "mp0, 1 GiB", lambda g: {"vmid": g.ct, "storage": g.rootfs, "size_gb": 1, "path": "/data"},
        needs=lambda g: g.ct in g.guests),
    _vm("add_disk", "a storage that is not there", expect="refused", storage=NOWHERE, size_gb=1),
    _vm("resize_disk", "scsi1 to 2 GiB", disk="scsi1", size="2G"),
    _vm("resize_disk", "scsi1 to 1 GiB: disks only grow", expect="refused", disk="scsi1", size="1G"),
    Try("move_disk", "scsi1 to another storage",
        lambda g: {"vmid": g.vm, "disk": "scsi1", "storage": g.second, "delete": True}, needs=lambda g: g.second),
    _vm("move_disk", "a disk that is not there", expect="refused", disk="scsi29", storage=NOWHERE),
    _vm("remove_disk", "scsi1", disk="scsi1"),
    _vm("remove_disk", "a disk that is not there", expect="refused", disk="scsi29"),
    Try("set_network_interface", "net1", lambda g: {"vmid": g.vm, "interface": "net1", "bridge": g.bridge}),
    _vm("set_network_interface", "a bridge that is not there", expect="refused", interface="net1", bridge="nowhere9"),
    _vm("remove_network_interface", "net1", interface="net1"),
    _nobody("remove_network_interface", interface="net1"),
)  # fmt: skip

KEEPING: tuple[Try, ...] = (
    _vm("create_snapshot", "of the virtual machine", name="first"),
    _ct("create_snapshot", "of the container", name="first"),
    _vm("create_snapshot", "a name that is taken", expect="refused", name="first"),
    _vm("list_snapshots", "of the virtual machine"),
    _nobody("list_snapshots"),
    _vm("rollback_snapshot", "of the virtual machine", name="first"),
    _vm("rollback_snapshot", "one that is not there", expect="refused", name="second"),
    _vm("delete_snapshot", "of the virtual machine", name="first"),
    _ct("delete_snapshot", "of the container", name="first"),
    _vm("delete_snapshot", "one that is not there", expect="refused", name="first"),
    Try("create_backup", "of the virtual machine", lambda g: {"vmid": g.vm, "storage": g.backups, "notes": MARK},
        needs=lambda g: g.backups),
    Try("create_backup", "of the container", lambda g: {"vmid": g.ct, "storage": g.backups, "notes": MARK},
        needs=lambda g: g.backups and g.ct in g.guests),
    _vm("create_backup", "a storage that is not there", expect="refused", storage=NOWHERE),
    Try("list_backups", "of the virtual machine", lambda g: {"vmid": g.vm}, needs=lambda g: g.backups),
    _no("list_backups", "a wrong moment", since="yesterday-ish"),
    Try("run_datastore_job", "verify the virtual machine's backups",
        lambda g: {"datastore": g.datastore, "job": "verify", "group": f"vm/{g.vm}"},
        needs=lambda g: g.datastore and g.backup_of(g.vm)),
    _no("run_datastore_job", "an unknown datastore", datastore=NOWHERE, job="gc"),
    Try("restore_backup", "the container under another id",
        lambda g: {"volume": g.backup_of(g.ct), "vmid": g.restored, "node": g.node, "storage": g.rootfs,
                   "pool": g.pool},
        needs=lambda g: g.backup_of(g.ct), makes=lambda g: g.restored),
    Try("restore_backup", "over a guest without saying so",
        lambda g: {"volume": g.backup_of(g.vm), "vmid": g.vm}, "refused", needs=lambda g: g.backup_of(g.vm)),
    Try("delete_backup", "the virtual machine's", lambda g: {"volume": g.backup_of(g.vm)},
        needs=lambda g: g.backup_of(g.vm)),
    Try("delete_backup", "one that is not there",
        lambda g: {"volume": f"{g.backups}:backup/vm/{g.nobody}/2020-01-01T00:00:00Z"}, "refused",
        needs=lambda g: g.backups),
)  # fmt: skip

RUNNING: tuple[Try, ...] = (
    _vm("execute_vm_command", "start", command="start"),
    _vm("execute_vm_command", "resume, which it does not need", expect="either", command="resume"),
    _vm("convert_to_template", "a machine that runs", expect="refused"),
    _vm("delete_guest", "a machine that runs", expect="refused"),
    _vm("run_guest_command", "true (an empty machine has no agent)", expect="either", argv=["true"]),
    _ct("run_guest_command", "a container", expect="refused", argv=["true"]),
    _vm("get_guest_ips", "of the virtual machine", expect="either"),
    _nobody("get_guest_ips"),
    _vm("execute_vm_command", "stop", command="stop"),
    _nobody("execute_vm_command", command="start"),
    _ct("execute_lxc_command", "start", command="start"),
    _ct("execute_lxc_command", "shutdown", command="shutdown", shutdown_timeout=30),
    _nobody("execute_lxc_command", command="start"),
    Try("execute_node_command", "start of the container alone",
        lambda g: {"node": g.node, "command": "startall", "vmids": [g.ct]}, needs=lambda g: g.ct in g.guests),
    Try("execute_node_command", "shutdown of the container alone",
        lambda g: {"node": g.node, "command": "stopall", "vmids": [g.ct]}, needs=lambda g: g.ct in g.guests),
    _no("execute_node_command", "an unknown node", node=NOWHERE, command="startall"),
    Try("clone_guest", "the virtual machine",
        lambda g: {"vmid": g.vm, "newid": g.clone, "name": f"{MARK}-clone", "full": True, "pool": g.pool},
        makes=lambda g: g.clone),
    _nobody("clone_guest"),
    Try("convert_to_template", "the clone", lambda g: {"vmid": g.clone}),
    Try("migrate_guest", "the virtual machine, off", lambda g: {"vmid": g.vm, "target": g.elsewhere},
        needs=lambda g: g.elsewhere),
    _vm("migrate_guest", "to a node that is not there", expect="refused", target=NOWHERE),
    Try("generate_terraform", "of what was made", lambda g: {"vmids": [g.vm]}, patient=True),
    Try("generate_terraform", "a guest that does not exist", lambda g: {"vmids": [g.nobody]}, "refused"),
    _no("send_notification", "a message without words", message=""),
    Try("send_notification", "to whoever is told (with a bridge and a notifier)",
        lambda _: {"message": "proxmox-mcp exercise tried this.", "title": "Exercise"}, "either"),
)  # fmt: skip

COURSE: tuple[Try, ...] = (*READS, *MAKING, *KEEPING, *RUNNING)
