"""Numbered happenings, and how the hosts of a lab tell of each over one to three channels."""

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from proxmox_mcp.lab.push import pve_texts, syslog
from proxmox_mcp.lab.push.model import Notification, fqdn
from proxmox_mcp.lab.state import LogEntry
from proxmox_mcp.lab.vzlog import stamp

Channel = Literal["webhook", "gotify", "smtp", "imap", "gotify_in", "syslog_tcp", "syslog_udp", "task"]
Kind = Literal["backup", "backup with task", "replication", "system mail"]

CHANNELS: tuple[Channel, ...] = (
    "webhook", "gotify", "smtp", "imap", "gotify_in", "syslog_tcp", "syslog_udp", "task",
)  # fmt: skip
UNACKNOWLEDGED: frozenset[Channel] = frozenset({"syslog_tcp", "syslog_udp"})
NODES = ("pve1", "pve2", "pve3")
FIRST_GUEST = 100_000  # none of these is in the lab: the number of a happening is that of its guest
REPLICATED = 100  # the first of ten guests of the lab
_KINDS: tuple[Kind, ...] = ("backup",) * 11 + ("replication",) * 3 + ("system mail",) * 3 + ("backup with task",) * 3
_MAILED: tuple[Channel, ...] = CHANNELS[:5]


@dataclass(frozen=True)
class Happening:
    """`at` is when it happened, in Unix seconds; `upid` the task that it was, where it was one."""

    number: int
    channels: tuple[Channel, ...]
    at: int = field(default_factory=lambda: int(time.time()))
    upid: str = ""

    @property
    def kind(self) -> Kind:
        return kind_of(self.number)

    @property
    def node(self) -> str:
        return node_of(self.number)

    @property
    def failed(self) -> bool:
        return self.kind == "replication" or self.number % 2 == 1

    @property
    def guest(self) -> int:
        return FIRST_GUEST + self.number

    @property
    def job(self) -> str:
        """Of a replication: of a guest that the lab has, since not every channel names the node."""
        return f"{REPLICATED + self.number % 10}-{self.number}"

    @property
    def mark(self) -> str:
        return f"ledger-{self.number:05d}"


def kind_of(number: int) -> Kind:
    return _KINDS[number % len(_KINDS)]


def node_of(number: int) -> str:
    return NODES[number % len(NODES)]


def channels_of(number: int) -> tuple[Channel, ...]:
    """The same each time for a number."""
    dice = random.Random(number)  # noqa: S311 -- chance that can be repeated
    kind = kind_of(number)
    count = dice.randint(1, 3)
    if kind == "system mail":
        return tuple(dice.sample(_MAILED, count))
    told: Sequence[Channel] = dice.sample(CHANNELS[:7], count)
    if kind == "backup with task":
        told = ("task", *told[: count - 1])
    return tuple(one for one in told if not (one == "syslog_udp" and "syslog_tcp" in told))


# --- texts -----------------------------------------------------------------------------------------------------------


def notification(one: Happening) -> Notification:
    """What the host notifies of, in the words of Proxmox VE 9."""
    return _TEXTS[one.kind](one)


def _backup(one: Happening) -> Notification:
    vmid, began = one.guest, one.at - 30
    end = (
        f"{stamp(one.at)} ERROR: Backup of VM {vmid} failed - unable to write {one.mark}"
        if one.failed
        else f"{stamp(one.at)} INFO: Finished Backup of VM {vmid} (00:00:30)"
    )
    log = (f"{stamp(began)} INFO: Starting Backup of VM {vmid} (qemu)", f"{stamp(began)} INFO: {one.mark}", end)
    name = "" if one.failed else f"/mnt/pve/nas/dump/vzdump-qemu-{vmid}-{stamp(began, '%Y_%m_%d-%H_%M_%S')}.vma.zst"
    result = pve_texts.BackupResult(vmid, f"vm{vmid}", 30, 0 if one.failed else 1 << 30, name, log)
    run = pve_texts.BackupRun(f"vzdump {vmid} --mode snapshot --storage nas --node {one.node}", results=[result])
    return pve_texts.backup(one.node, one.at, run)


def _replication(one: Happening) -> Notification:
    target = node_of(one.number + 1)
    return pve_texts.replication(one.node, one.at, one.job, target, f"command '{one.mark}' failed: exit code 1")


def _system_mail(one: Happening) -> Notification:
    subject = f"Cron <root@{one.node}> /usr/local/bin/{one.mark}"
    return pve_texts.system_mail(fqdn(one.node), one.at, subject, f"/bin/sh: 1: {one.mark}: not found\n")


_TEXTS = {"backup": _backup, "backup with task": _backup, "replication": _replication, "system mail": _system_mail}


def log_line(one: Happening) -> str:
    """What the host's journal has of it."""
    if one.upid:
        end = f"unable to write {one.mark}" if one.failed else "OK"
        return _line(one, "pvedaemon", f"end task {one.upid}: {end}", user="root@pam")
    if one.kind == "replication":
        error = f"{one.job}: got unexpected replication job error - command '{one.mark}' failed: exit code 1"
        return _line(one, "pvescheduler", error)
    if one.failed:
        return _line(one, "vzdump", f"ERROR: Backup of VM {one.guest} failed - unable to write {one.mark}")
    return _line(one, "vzdump", f"INFO: Finished Backup of VM {one.guest} (00:00:30)")


def _line(one: Happening, tag: str, text: str, user: str = "") -> str:
    pri = 3 if one.failed else 6
    return syslog.line(LogEntry(one.number, one.node, one.at, 1000 + one.number % 9000, pri, tag, user, text))
