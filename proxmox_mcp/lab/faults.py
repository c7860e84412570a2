"""Faults on demand: a table of what can go wrong, with what each needs to be told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import alarms, mishaps
from .mishaps import FaultError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .lab import Lab

    Inject = Callable[[Lab, list[str]], str]


@dataclass(frozen=True, slots=True)
class Fault:
    name: str
    arguments: tuple[str, ...]
    """An argument in square brackets may be left out."""
    help: str
    inject: Inject

    @property
    def usage(self) -> str:
        return " ".join((self.name, *self.arguments))


FAULTS: tuple[Fault, ...] = (
    Fault("guest-crash", ("VMID",), "a running guest dies without a task", mishaps.guest_crash),
    Fault("guest-lock", ("VMID", "LOCK"), "a guest gets a lock (backup, snapshot, migrate, ...)", mishaps.guest_lock),
    Fault("guest-unlock", ("VMID",), "its lock is removed", mishaps.guest_unlock),
    Fault("guest-pause", ("VMID",), "a running VM is paused, as after an I/O error", mishaps.guest_pause),
    Fault("guest-deaf", ("VMID",), "a guest ignores that it is to shut down; again: it hears it", mishaps.guest_deaf),
    Fault("guest-destroy", ("VMID",), "a guest is destroyed", mishaps.guest_destroy),
    Fault("guest-create", ("[qemu|lxc]",), "a new, stopped guest appears", mishaps.guest_create),
    Fault("guest-migrate", ("VMID", "NODE"), "a guest is on another node at once", mishaps.guest_migrate),
    Fault("agent-dead", ("VMID",), "a VM's agent stops answering; again: it answers", mishaps.agent_dead),
    Fault("node-down", ("NODE",), "a node loses power: its API, too", mishaps.node_down),
    Fault("node-up", ("NODE",), "it is back, guests with onboot run", mishaps.node_up),
    Fault(
        "node-hang",
        ("NODE", "[off]"),
        "a node takes requests and answers none; proxied calls end with 596",
        mishaps.node_hang,
    ),
    Fault(
        "daemon-down", ("NODE",), "pvedaemon dies: calls that need root answer 595, others work", mishaps.daemon_down
    ),
    Fault("daemon-up", ("NODE",), "it runs again", mishaps.daemon_up),
    Fault("quorum-loss", (), "the cluster loses its quorum: nothing can be changed", mishaps.quorum_loss),
    Fault("quorum-back", (), "the quorum is back, if enough nodes are up", mishaps.quorum_back),
    Fault("ha-state", ("VMID", "STATE"), "the HA manager has a guest in this state (error, ...)", mishaps.ha_state),
    Fault("node-ha", ("NODE", "STATE"), "the HA manager has a node in this state (fence, ...)", mishaps.node_ha),
    Fault(
        "cluster-log",
        ("NODE", "PRIORITY", "TAG", "[TEXT]"),
        "a node writes into the cluster log; priority as in syslog: 3 error, 4 warning",
        mishaps.cluster_log,
    ),
    Fault("certificate-ends", ("NODE", "DAYS"), "a node's certificate ends in so many days", mishaps.certificate_ends),
    Fault("storage-fill", ("STORAGE", "PERCENT"), "a storage or datastore is that full", mishaps.storage_fill),
    Fault(
        "storage-offline",
        ("STORAGE", "[NODE]"),
        "a storage is not reachable, on one node or on all",
        mishaps.storage_offline,
    ),
    Fault("storage-online", ("STORAGE",), "it is reachable again", mishaps.storage_online),
    Fault("backup-fail", ("VMID",), "the next backup of a guest fails", mishaps.backup_fail),
    Fault("task-fail", ("TYPE", "[TEXT]"), "the next task of a type (qmstart, vzdump, ...) fails", mishaps.task_fail),
    Fault("task-warn", ("TYPE",), "the next task of a type ends with WARNINGS: 1", mishaps.task_warn),
    Fault("disk-fail", ("NODE", "[DEVICE]"), "a disk's SMART status says FAILED; smartd mails root", alarms.disk_fail),
    Fault("disk-hot", ("NODE", "[DEVICE]"), "a disk has 84 degrees", alarms.disk_hot),
    Fault("disk-pull", ("NODE", "[DEVICE]"), "a disk is taken out", alarms.disk_pull),
    Fault("pool-degrade", ("NODE", "[POOL]"), "a ZFS pool loses a device; zed mails root", alarms.pool_degrade),
    Fault("pool-repair", ("NODE", "[POOL]"), "it is well again", alarms.pool_repair),
    Fault("host-down", ("HOST",), "an API server refuses connections; the machine lives on", mishaps.host_down),
    Fault("host-up", ("HOST",), "it listens again", mishaps.host_up),
    Fault("api-latency", ("MS",), "every answer is late by so many milliseconds; 0 ends it", mishaps.api_latency),
    Fault("api-error", ("CODE",), "every request is answered with this status; 0 ends it", mishaps.api_error),
    Fault("api-hang", ("[off]",), "no request is answered for 75 s; off ends it", mishaps.api_hang),
    Fault("token-revoke", ("[TOKEN]",), "a token (default root@pam!full) is refused", mishaps.token_revoke),
    Fault("token-restore", ("[TOKEN]",), "it is accepted again", mishaps.token_restore),
    Fault("token-strip", ("[TOKEN]",), "a token loses all rights: lists turn empty, with 200", mishaps.token_strip),
    Fault("token-unstrip", ("[TOKEN]",), "it has its rights again", mishaps.token_unstrip),
    Fault("replication-fail", ("VMID", "NODE", "[TEXT]"), "a replication to a node fails", alarms.replication_fail),
    Fault("updates-available", ("HOST",), "a node or backup server finds updates", alarms.updates_available),
    Fault("system-mail", ("HOST", "[TEXT]"), "something on a host mails root", alarms.system_mail),
    Fault("syslog-to", ("HOST", "PORT", "[udp|tcp]"), "all journals are forwarded there", alarms.syslog_to),
    Fault("syslog-off", (), "they no longer are", alarms.syslog_off),
    Fault("clock-forward", ("SECONDS",), "the lab's time jumps ahead", mishaps.clock_forward),
)


BY_NAME = {fault.name: fault for fault in FAULTS}


def inject(lab: Lab, name: str, args: list[str]) -> str:
    """Let something go wrong; a wrong name or argument is a `FaultError` that says what there is."""
    fault = BY_NAME.get(name)
    if fault is None:
        raise FaultError(f"unknown fault {name!r}; there are: {', '.join(BY_NAME)}")
    needed = [one for one in fault.arguments if not one.startswith("[")]
    if len(args) < len(needed) or (len(args) > len(fault.arguments) and "[TEXT]" not in fault.arguments):
        raise FaultError(f"usage: {fault.usage}")
    return fault.inject(lab, args)
