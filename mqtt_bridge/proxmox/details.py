"""What costs a call per node, guest or storage: read round robin within POLL_DETAILS_BUDGET, running guests first."""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any

from mqtt_bridge import errors
from mqtt_bridge.model import StorageState, utc
from mqtt_bridge.proxmox import rows
from mqtt_bridge.proxmox.changes import BackupsRead, NodeChanged
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.disk_reader import DiskReader, Policy
from mqtt_bridge.proxmox.guests import GuestDetails, GuestRecord
from mqtt_bridge.proxmox.inventory import Inventory
from mqtt_bridge.proxmox.nodes import NodeRecord

log = logging.getLogger(__name__)

NODE_EVERY = 60.0
RUNNING_EVERY = 120.0
STOPPED_EVERY = 600.0
BACKUPS_EVERY = 600.0
IDLE = 1.0
WORKERS = 3  # calls under way at once: a node that hangs must not stop the others' details
ABSENT_FOR = 3600.0  # seconds for which a refused read is not tried again


class Budget:
    """At most `calls` in any `window` seconds."""

    def __init__(self, calls: int, window: float = 60.0) -> None:
        self._window = window
        self._spent: deque[float] = deque(maxlen=max(1, calls))

    async def spend(self) -> None:
        """Wait for the next call that the budget allows."""
        while len(self._spent) == self._spent.maxlen:
            wait = self._spent[0] + self._window - time.monotonic()
            if wait <= 0:
                break
            await asyncio.sleep(wait)
        self._spent.append(time.monotonic())


class Details:
    """Fills in the details of one site's inventory until cancelled."""

    def __init__(
        self,
        inventory: Inventory,
        budget: int,
        slow_interval: float,
        backup_max_age: float = 7 * 86400,
        disks: Policy = "ssd",
    ) -> None:
        self._inventory = inventory
        self._client: ProxmoxClient = inventory.client
        self._budget = Budget(budget)
        self._slow = slow_interval
        self._backup_max_age = backup_max_age
        self._disks = DiskReader(inventory, self._get, disks, slow_interval)
        self._refused: dict[str, float] = {}
        self._backups_due = 0.0
        self._busy: set[object] = set()
        self._due: list[GuestRecord] = []  # the most urgent last
        self._looked_at = 0.0

    async def run(self) -> None:
        """Read what is due, oldest first."""
        await self._inventory.first_poll.wait()
        async with asyncio.TaskGroup() as group:
            for number in range(WORKERS):
                group.create_task(self._work(), name=f"details {number}")
            group.create_task(self._site_wide(), name="backups and HA")

    async def _work(self) -> None:
        while True:
            job = self._next()
            if job is None:
                await asyncio.sleep(IDLE)
                continue
            async with self._reserved(job):
                await (self._node(job) if isinstance(job, NodeRecord) else self._guest(job))

    @contextlib.asynccontextmanager
    async def _reserved(self, job: NodeRecord | GuestRecord) -> AsyncIterator[None]:
        key = job.name if isinstance(job, NodeRecord) else job.vmid
        self._busy.add(key)
        try:
            yield
        finally:
            self._busy.discard(key)

    def _next(self) -> NodeRecord | GuestRecord | None:
        if self._inventory.pulse.status in (None, "offline"):
            return None
        now = time.monotonic()
        online = self._inventory.nodes.online()
        for node in self._inventory.nodes:
            if node.details_due <= now and online[node.name] and node.name not in self._busy:
                return node
        return self._next_guest(now, online)

    def _next_guest(self, now: float, online: Mapping[str, bool]) -> GuestRecord | None:
        """Running guests first, then the longest due. All are looked through once a second, not for every call."""
        if now - self._looked_at >= IDLE:
            self._looked_at = now
            self._due = [g for g in self._inventory.guests if g.details_due <= now]
            self._due.sort(key=lambda g: (g.row.get("status") != "running", g.details_due), reverse=True)
        known = self._inventory.guests.records
        while self._due:
            guest = self._due.pop()
            fits = guest.details_due <= now and online.get(guest.node, False) and guest.vmid not in self._busy
            if fits and known.get(guest.vmid) is guest:
                return guest
        return None

    async def _get(self, *path: str | int, **params: Any) -> Any:
        """The answer, or None where it is refused or not to be had now."""
        await self._budget.spend()
        try:
            return await self._client.get(*path, purpose="poll", **params)
        except errors.ForbiddenError as error:
            self._refused[error.privilege] = time.monotonic() + ABSENT_FOR
            log.debug("%s", error)
        except errors.ProxmoxError as error:
            log.debug("Details of %s: %s", "/".join(map(str, path)), error)
        return None

    def _allowed(self, privilege: str) -> bool:
        return self._refused.get(privilege, 0.0) <= time.monotonic()

    # --- nodes ------------------------------------------------------------------------------------------------------

    async def _node(self, record: NodeRecord) -> None:
        record.details_due = time.monotonic() + min(NODE_EVERY, self._slow)
        status = await self._get("nodes", record.name, "status")
        if isinstance(status, Mapping):
            record.details, record.details_at = status, time.time()
        if record.slow_due <= time.monotonic():
            record.slow_due = time.monotonic() + self._slow
            record.slow = await self._slow_facts(record.name)
        change = self._inventory.nodes.publish(record)
        if change is not None:
            self._inventory.changes.tell(NodeChanged(change.old, change.new, time.time()))
        await self._disks.read(record.name)

    async def _slow_facts(self, node: str) -> dict[str, Any]:
        updates = await self._get("nodes", node, "apt", "update") if self._allowed("Sys.Modify") else None
        certificates = await self._get("nodes", node, "certificates", "info")
        subscription = await self._get("nodes", node, "subscription")
        return {
            "updates": len(updates) if isinstance(updates, list) else None,
            "certificate_expires": _first_expiry(certificates),
            "subscription": subscription.get("status") if isinstance(subscription, Mapping) else None,
        }

    # --- guests -----------------------------------------------------------------------------------------------------

    async def _guest(self, record: GuestRecord) -> None:
        running = record.row.get("status") == "running"
        record.details_due = time.monotonic() + (RUNNING_EVERY if running else STOPPED_EVERY)
        base = ("nodes", record.node, record.type, record.vmid)
        config = await self._get(*base, "config")
        if not isinstance(config, Mapping):
            return
        agent = rows.agent_configured(config) if record.type == "qemu" else None
        current = await self._get(*base, "status", "current") if running and record.type == "qemu" else None
        details = GuestDetails(
            qmpstatus=current.get("qmpstatus") if isinstance(current, Mapping) else None,
            onboot=str(config.get("onboot", 0)) == "1",
            protection=str(config.get("protection", 0)) == "1",
            os_type=config.get("ostype"),
            agent=agent,
            ips=await self._ips(record, agent=bool(agent)) if running else None,
            at=utc(time.time()),
        )
        if record.vmid in self._inventory.guests.records:
            change = self._inventory.guests.set_details(record, details, self._inventory.nodes.online())
            if change is not None:
                self._inventory.stops.take(change, time.time())

    async def _ips(self, record: GuestRecord, *, agent: bool) -> tuple[str, ...] | None:
        base = ("nodes", record.node, record.type, record.vmid)
        if record.type == "lxc":
            return rows.addresses(await self._get(*base, "interfaces"))
        if not agent or not self._allowed("VM.GuestAgent.Audit"):
            return None
        return rows.addresses(await self._get(*base, "agent", "network-get-interfaces"))

    # --- backups and HA ---------------------------------------------------------------------------------------------

    async def _site_wide(self) -> None:
        ended = self._inventory.backup_ended
        while True:
            if self._inventory.pulse.status in (None, "offline"):
                await asyncio.sleep(IDLE)
                continue
            ha = await self._get("cluster", "ha", "status", "current")
            self._inventory.ha = ha if isinstance(ha, list) else None
            if ended.is_set() or self._backups_due <= time.monotonic():
                ended.clear()
                self._backups_due = time.monotonic() + BACKUPS_EVERY
                await self._backups()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NODE_EVERY):
                    await ended.wait()

    async def _backups(self) -> None:
        """Coverage and last backups, told together: one change per guest."""
        uncovered = await self._uncovered()
        newest = await self._newest()
        guests, online = self._inventory.guests, self._inventory.nodes.online()
        self._inventory.not_backed_up = None if uncovered is None else tuple(sorted(uncovered & set(guests.records)))
        for record in list(guests):
            covered = None if uncovered is None else record.vmid not in uncovered
            last = max(newest.get(record.vmid, 0.0), record.last_backup or 0.0) or None
            stale = (
                None if covered is None else covered and last is not None and time.time() - last > self._backup_max_age
            )
            if (covered, last, stale) != (record.covered, record.last_backup, record.stale):
                record.covered, record.last_backup, record.stale = covered, last, stale
                guests.touch(record, online)
        told = BackupsRead(
            self._inventory.site.slug, self._inventory.guest_states(), uncovered is not None, time.time()
        )
        self._inventory.changes.tell(told)

    async def _uncovered(self) -> set[int] | None:
        answer = await self._get("cluster", "backup-info", "not-backed-up")
        return {int(r["vmid"]) for r in answer} if isinstance(answer, list) else None

    async def _newest(self) -> dict[int, float]:
        """By VMID, in seconds: from vzdump tasks, and from what is in the storages where that may be seen."""
        newest: dict[int, float] = {}
        for task in self._inventory.tasks.newest(500):
            if task.guest is not None and task.type == "vzdump" and task.status in ("ok", "warning"):
                newest[task.guest] = max(newest.get(task.guest, 0.0), _seconds(task.ended_at))
        for state in list(self._inventory.storages.states.values()):
            for row in await self._backups_in(state) if "backup" in state.content and state.available else ():
                if row.get("vmid") is not None:
                    vmid = int(row["vmid"])
                    newest[vmid] = max(newest.get(vmid, 0.0), float(row.get("ctime") or 0))
        return newest

    async def _backups_in(self, state: StorageState) -> list[rows.Row]:
        online = self._inventory.nodes.online()
        node = state.node or next((n for n in state.nodes if online.get(n)), None)
        if node is None:
            return []
        content = await self._get("nodes", node, "storage", state.storage, "content", content="backup")
        return content if isinstance(content, list) else []


def _seconds(stamp: str | None) -> float:
    return datetime.fromisoformat(stamp).timestamp() if stamp else 0.0


def _first_expiry(certificates: Any) -> float | None:
    if not isinstance(certificates, list):
        return None
    served = [c for c in certificates if c.get("filename") in ("pveproxy-ssl.pem", "pve-ssl.pem") and c.get("notafter")]
    served.sort(key=lambda c: c["filename"] != "pveproxy-ssl.pem")
    return float(served[0]["notafter"]) if served else None
