"""The state of one simulated datacentre and the questions that handlers ask it."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any

from . import journal
from .access import Access
from .clock import Clock
from .errors import ApiError, bad_parameters
from .push.notifier import Notifier
from .roles import ALL, CUSTOM_ROLES, PVE_ROLES
from .sizes import disk_size
from .state import LogEntry
from .tasks import Task, Tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from .access import Identity
    from .options import LabOptions
    from .pbs.state import PbsHost
    from .push.metrics import MetricPush, MetricServer
    from .push.pve_texts import BackupRun
    from .rules import Firewall, Replication
    from .state import BackupJob, Guest, GuestKind, HaResource, Node, Pool, Storage

CONFIG_DIR = {"qemu": "qemu-server", "lxc": "lxc"}
LOG_KEPT = 2000


@dataclass(slots=True)
class World:
    options: LabOptions
    rng: Random
    clock: Clock
    tasks: Tasks
    access: Access
    cluster_name: str = "lab"
    nodes: dict[str, Node] = field(default_factory=dict)
    guests: dict[int, Guest] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    pools: dict[str, Pool] = field(default_factory=dict)
    ha: dict[str, HaResource] = field(default_factory=dict)
    ha_rules: list[dict[str, Any]] = field(default_factory=list)
    firewalls: dict[str, Firewall] = field(default_factory=dict)
    """By `cluster`, `node/NAME` and `guest/VMID`; without an entry there are no rules."""
    replication: dict[str, Replication] = field(default_factory=dict)
    backup_jobs: dict[str, BackupJob] = field(default_factory=dict)
    metric_servers: dict[str, MetricServer] = field(default_factory=dict)
    metrics: MetricPush = field(init=False)
    notifier: Notifier = field(default_factory=lambda: Notifier("pve"))
    log: deque[LogEntry] = field(default_factory=lambda: deque(maxlen=LOG_KEPT))
    """The cluster log, newest first."""
    journal: deque[LogEntry] = field(default_factory=lambda: deque(maxlen=LOG_KEPT))
    """What all hosts' daemons wrote, oldest first: the cluster log and more."""
    on_journal: list[Callable[[LogEntry], None]] = field(default_factory=list)
    pbs: dict[str, PbsHost] = field(default_factory=dict)
    quorate: bool = True
    standalone: bool = False
    backup_fails: set[int] = field(default_factory=set)
    """Guests whose next backup fails."""
    backup_breaks: dict[str, str] = field(default_factory=dict)
    """Kind of guest → why none of them can be backed up here."""
    backup_runs: dict[str, BackupRun] = field(default_factory=dict)
    """By UPID, while vzdump runs."""
    fenced: dict[str, list[str]] = field(default_factory=dict)
    """Lost node → the HA resources that ran there."""
    agent_runs: list[tuple[int, list[str], str]] = field(default_factory=list)
    """Every agent command: guest, argv, input."""
    agent_began: list[float] = field(default_factory=list)
    """When each of them was begun."""
    on_power: Callable[[Node, bool], None] = field(default=lambda _node, _up: None)
    """Told when a node goes down or comes up, so that its sockets do too."""
    on_recovery: Callable[[Guest], None] = field(default=lambda _guest: None)
    """Told when the HA manager has moved a guest off a dead node."""
    on_fence: Callable[[Node, bool], None] = field(default=lambda _node, _done: None)
    """Told when the HA manager is about to fence a node, and when it has."""
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    _sorted: list[Guest] = field(default_factory=list)
    _sorted_at: int = -1
    changed: int = 0
    """Grows with every change of what exists, so that caches know."""

    @classmethod
    def empty(cls, options: LabOptions) -> World:
        clock = Clock()
        access = Access(PVE_ROLES | CUSTOM_ROLES, "PVEAPIToken", "=", ALL)
        world = cls(options, Random(options.seed), clock, Tasks(clock, options.speed), access, options.cluster_name)
        world.tasks.on_start.append(world._log_start)
        world.tasks.on_end.append(world._log_end)
        return world

    def now(self) -> float:
        return self.clock.now()

    def node(self, name: str) -> Node:
        if name not in self.nodes:
            raise ApiError(
                500,
                f"hostname lookup '{name}' failed - failed to get address info for: {name}: "
                "Temporary failure in name resolution",
            )
        return self.nodes[name]

    def guest(self, vmid: int, node: str, kind: GuestKind) -> Guest:
        """Find a guest where the path says it is; 500 if its configuration is not there."""
        found = self.guests.get(vmid)
        if found is None or found.node != node or found.kind != kind:
            raise ApiError(500, f"Configuration file 'nodes/{node}/{CONFIG_DIR[kind]}/{vmid}.conf' does not exist")
        return found

    def storage(self, name: str) -> Storage:
        if name not in self.storages:
            raise ApiError(500, f"storage '{name}' does not exist")
        return self.storages[name]

    def storage_parameter(self, name: str) -> Storage:
        """Find a storage named in a path: PVE says 400 there."""
        if name not in self.storages:
            raise bad_parameters({"storage": "No such storage."})
        return self.storages[name]

    def usable_storage(self, name: str, node: str) -> Storage:
        found = self.storage(name)
        if found.disabled:
            raise ApiError(500, f"storage '{name}' is disabled")
        if not found.serves(node):
            raise ApiError(500, f"storage '{name}' is not available on node '{node}'")
        if not found.active(node):
            raise ApiError(500, f"storage '{name}' is not online")
        return found

    def need_quorum(self) -> None:
        if not self.quorate:
            raise ApiError(500, "cluster not ready - no quorum?")

    def next_vmid(self) -> int:
        vmid = 100
        while vmid in self.guests:
            vmid += 1
        return vmid

    def sorted_guests(self) -> list[Guest]:
        if self._sorted_at != self.changed:
            self._sorted = [self.guests[vmid] for vmid in sorted(self.guests)]
            self._sorted_at = self.changed
        return self._sorted

    def add_guest(self, guest: Guest) -> None:
        self.guests[guest.vmid] = guest
        self.moved(guest)

    def remove_guest(self, guest: Guest) -> None:
        del self.guests[guest.vmid]
        self.changed += 1
        self.access.forget()
        self.ha.pop(ha_sid(guest), None)
        for storage in self.storages.values():
            for volumes in storage.volumes.values():
                volumes[:] = [volume for volume in volumes if volume.vmid != guest.vmid or volume.content == "backup"]

    def moved(self, guest: Guest) -> None:
        """Take note that a guest is new, elsewhere or in another pool."""
        guest.entry = ""
        self.changed += 1
        path = f"/vms/{guest.vmid}"
        self.access.pools.pop(path, None)
        if guest.pool:
            self.access.pools[path] = f"/pool/{guest.pool}"
        self.access.forget()

    def maxdisk(self, guest: Guest) -> int:
        """Size of the root disk, which is what PVE shows as the guest's disk."""
        return disk_size(guest.config, guest.kind)

    def write_log(self, node: Node, user: str, tag: str, msg: str, *, pri: int = 6, at: float | None = None) -> None:
        node.log_uid += 1
        time = int(self.now() if at is None else at)
        entry = LogEntry(node.log_uid, node.name, time, 900 + node.nodeid, pri, tag, user, msg)
        self.log.appendleft(entry)
        self._keep(entry)

    def say(self, host: str, tag: str, msg: str, *, pri: int = 6) -> None:
        """Write into the journal of a node or backup server; one that is down writes nothing."""
        node = self.nodes.get(host)
        if node is not None and not node.online:
            return
        pid = {"kernel": 0, "systemd": 1}.get(tag, 900 + (node.nodeid if node else 0))
        self._keep(LogEntry(0, host, int(self.now()), pid, pri, tag, "", msg))

    def _keep(self, entry: LogEntry) -> None:
        self.journal.append(entry)
        for told in self.on_journal:
            told(entry)

    def _log_start(self, task: Task) -> None:
        self.write_log(self.nodes[task.node], task.full_user, "pvedaemon", f"starting task {task.upid}")

    def _log_end(self, task: Task) -> None:
        if not self.nodes[task.node].online:
            return
        good = task.status == "OK" or task.status.startswith("WARNINGS")
        text = f"end task {task.upid} {task.status}"
        self.write_log(self.nodes[task.node], task.full_user, "pvedaemon", text, pri=6 if good else 3)

    def power_node(self, node: Node, *, up: bool, back_after: float | None = None) -> None:
        """Take a node down, or up; `back_after` seconds later: down and then up by itself, or up only then."""
        if not up:
            self._down(node)
        if back_after is not None:
            self.timers.append(asyncio.get_running_loop().call_later(back_after, self._up, node))
        elif up:
            self._up(node)

    def _down(self, node: Node) -> None:
        """Guests go on saying what they said last; whoever ran there is dead."""
        if not node.online:
            return
        node.online, node.lost_at = False, self.now()
        journal.member(self, node, up=False)
        self.count_votes()
        for task in [task for task in self.tasks.by_node.get(node.name, ()) if task.running]:
            task.stop_text = "unexpected status"
            task.stop.set()
        self.on_power(node, False)
        if any(ha_sid(guest) in self.ha for guest in self.guests.values() if guest.node == node.name):
            later = asyncio.get_running_loop().call_later
            self.timers.append(later(self.options.ha_recovery / 2, self.fence, node))
            self.timers.append(later(self.options.ha_recovery, self.recover, node))

    def fence(self, node: Node) -> None:
        """The HA manager gives a lost node up."""
        if not node.online and self.quorate and any(one.online for one in self.nodes.values()):
            node.ha_state = "fence"
            self.on_fence(node, False)

    def recover(self, node: Node) -> None:
        """The HA manager has fenced a lost node: its services start elsewhere, if there is a quorum."""
        others = [one for one in self.nodes.values() if one.online]
        if node.online or not self.quorate or not others:
            return
        node.ha_state = "unknown"
        self.on_fence(node, True)
        for guest in [one for one in self.guests.values() if one.node == node.name and ha_sid(one) in self.ha]:
            guest.node, guest.running, guest.report_tick = others[0].name, False, -1
            self.moved(guest)
            text = f"recover service '{ha_sid(guest)}' from fenced node '{node.name}' to node '{guest.node}'"
            self.say(others[0].name, "pve-ha-crm", text)
            self.on_recovery(guest)

    def _up(self, node: Node) -> None:
        """After a boot, guests with `onboot` run again."""
        if node.online:
            return
        now = self.now()
        node.online, node.seen, node.booted_at, node.hanging, node.ha_state = True, True, now, False, ""
        self.tasks.boot[node.name] = now
        self.fenced.pop(node.name, None)
        journal.member(self, node, up=True)
        self.count_votes()
        for guest in self.guests.values():
            if guest.node == node.name:
                guest.running, guest.paused = bool(guest.config.get("onboot")) and not guest.template, False
                guest.started_at, guest.report_tick, guest.entry = now, -1, ""
        self.on_power(node, True)

    def count_votes(self) -> None:
        self.set_quorate(2 * sum(node.online for node in self.nodes.values()) > len(self.nodes))

    def set_quorate(self, quorate: bool) -> None:
        if quorate != self.quorate:
            self.quorate = quorate
            journal.quorum(self)

    def sees(self, who: Identity, path: str, privilege: str) -> bool:
        return privilege in self.access.privileges(who, path)


def ha_sid(guest: Guest) -> str:
    return f"{'vm' if guest.kind == 'qemu' else 'ct'}:{guest.vmid}"
