"""A datacentre that was read once from the lab: plans are made of it thousands of times, and nothing reaches anything.

Every guest has a pool and a tag of its own, so that a rule can name exactly one of them.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from mqtt_bridge.actions.vmids import FIRST
from mqtt_bridge.errors import BridgeError, NotFoundError, RejectedError
from mqtt_bridge.proxmox.api import OnProgress, TaskOutcome
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.segments import build
from mqtt_bridge.settings import SiteSettings
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.lab.state import Pool, Snapshot, Volume
from tests.actions.backup_bench import server_of
from tests.policy.bench import client_of

Key = tuple[tuple[str | int, ...], tuple[tuple[str, str], ...]]
Overlay = Callable[[tuple[str | int, ...], Any], Any]
UPID = "UPID:pve1:00000001:00000001:6B00E880:x:100:root@pam!t:"
NEW_POOL = "p-new"
ARCHIVE = "local:backup/vzdump-qemu-121-2026_01_31-02_00_00.vma.zst"
PROTECTED = "local:backup/vzdump-qemu-121-2026_01_30-02_00_00.vma.zst"
CT_ARCHIVE = "local:backup/vzdump-lxc-112-2026_01_31-02_00_00.tar.zst"
OLD_GUEST = 199  # that does not exist any more; a backup of it is there
ORPHAN = f"local:backup/vzdump-qemu-{OLD_GUEST}-2026_01_31-02_00_00.vma.zst"
RISKY = {"args": "-device x", "hookscript": "local:snippets/x.pl"}  # a guest that has what is never sent


def prepare(lab: Lab) -> None:
    """What samples need beyond the lab's own: marks, backups on a folder, disks of several kinds."""
    world = lab.world
    world.pools[NEW_POOL] = Pool(NEW_POOL)
    for guest in world.sorted_guests():
        guest.pool = f"p{guest.vmid}"
        world.pools[guest.pool] = Pool(guest.pool)
        own = str(guest.config.get("tags", ""))
        guest.config["tags"] = f"{own};t{guest.vmid}".strip(";")
    lab.guest(121).config |= {**RISKY, "unused0": "local-lvm:vm-121-disk-7", "scsi1": "ceph-vm:vm-121-disk-1,size=8G",
                              "ide2": "local-lvm:vm-121-cloudinit,media=cdrom"}  # fmt: skip
    lab.guest(100).config |= {**RISKY, "scsi1": "ceph-vm:vm-100-disk-1,size=8G"}
    lab.guest(117).config |= {"mp0": "ceph-vm:vm-117-disk-1,mp=/data,size=8G"}
    lab.guest(110).snapshots = [Snapshot("clean", 1_760_000_000, config=dict(lab.guest(110).config))]
    world.storages["local"].on("pve1").extend(
        Volume(volid, "backup", "vma.zst", 10**9, at, vmid=vmid, protected=guarded, config=_kept(lab, vmid))
        for volid, at, vmid, guarded in (
            (ARCHIVE, 1_769_824_800, 121, False),
            (PROTECTED, 1_769_738_400, 121, True),
            (CT_ARCHIVE, 1_769_824_800, 112, False),
            (ORPHAN, 1_769_824_800, OLD_GUEST, False),
        )
    )
    world.access.forget()


def _kept(lab: Lab, vmid: int) -> dict[str, Any]:
    """What a backup knows of its guest."""
    return dict(lab.guest(vmid if vmid in lab.world.guests else 121).config)


@dataclass
class Frozen:
    """One site's API, answering from what was read; what was not read is not there. Keeps what would be sent."""

    site: SiteSettings
    known: dict[Key, Any] = field(default_factory=dict)
    live: ProxmoxClient | None = None
    overlay: Overlay = lambda _segments, answer: answer
    sent: list[tuple[str, tuple[str | int, ...], dict[str, Any]]] = field(default_factory=list)

    async def get(self, *segments: Any, purpose: str = "tool", deadline: float | None = None, **params: Any) -> Any:
        del purpose, deadline
        return await self._read("get", segments, params)

    async def post(self, *segments: Any, deadline: float | None = None, **params: Any) -> Any:
        del deadline
        if params.get("dry-run"):
            return await self._read("post", segments, params)
        return self._send("POST", segments, params)

    async def put(self, *segments: Any, deadline: float | None = None, **params: Any) -> Any:
        del deadline
        return self._send("PUT", segments, params)

    async def delete(self, *segments: Any, deadline: float | None = None, **params: Any) -> Any:
        del deadline
        return self._send("DELETE", segments, params)

    async def wait_task(self, upid: str, *, timeout: float, on_progress: OnProgress | None = None) -> TaskOutcome:  # noqa: ASYNC109
        del timeout, on_progress
        return TaskOutcome(upid, finished=True, ok=True, warnings=0, exitstatus="OK")

    def _send(self, method: str, segments: tuple[Any, ...], params: Mapping[str, Any]) -> str:
        build(segments)
        self.sent.append((method, segments, dict(params)))
        return UPID

    async def _read(self, method: str, segments: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        build(segments)
        key = (segments, tuple(sorted((k, str(v)) for k, v in params.items() if v is not None)))
        if key not in self.known:
            self.known[key] = await self._ask(method, segments, params)
        found = self.known[key]
        if isinstance(found, BridgeError):
            raise found
        return self.overlay(segments, found)

    async def _ask(self, method: str, segments: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        if self.live is None:
            return self._unread(segments, params)
        try:
            return await getattr(self.live, method)(*segments, **params)
        except BridgeError as error:
            return error

    def _unread(self, segments: tuple[Any, ...], params: Mapping[str, Any]) -> Any:
        """What the lab would say to what nobody asked it."""
        if segments == ("cluster", "nextid") and int(params["vmid"]) >= FIRST:
            rows = self.known[("cluster", "resources"), (("type", "vm"),)]
            if any(row["vmid"] == params["vmid"] for row in rows):
                return RejectedError("vmid: VM already exists", status=400)
            return params["vmid"]
        return NotFoundError(f"/{build(segments)} was not read", status=404)


@dataclass(frozen=True)
class World:
    """What is in it, and its sites' APIs as they were read."""

    nodes: frozenset[str]
    storages: frozenset[str]
    pools: frozenset[str]
    vmids: frozenset[int]
    stores: frozenset[str]
    sites: Mapping[str, Frozen]

    def clients(self, overlay: Overlay = lambda _segments, answer: answer) -> dict[str, Frozen]:
        """New ones, with nothing sent yet, that share what was read."""
        return {name: Frozen(api.site, api.known, None, overlay) for name, api in self.sites.items()}


Visit = Callable[[Mapping[str, Frozen]], Any]


async def _read(visits: Iterable[Visit]) -> World:
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(LabOptions(speed=20, pvestatd_interval=0)))
        prepare(lab)
        live = {"lab": client_of(lab), "pbs1": server_of(lab)}
        apis = {name: Frozen(api.site, live=await stack.enter_async_context(api)) for name, api in live.items()}
        for row in await apis["lab"].get("cluster", "resources", type="vm"):
            path = ("nodes", row["node"], row["type"], row["vmid"])
            await apis["lab"].get(*path, "status", "current")
            await apis["lab"].get(*path, "config")
        for visit in visits:
            await visit(apis)
        writes = [r for r in lab.requests if r.method != "GET" and not r.path.endswith("/prune")]
        if writes or lab.violations or lab.unsimulated:
            raise AssertionError([*writes, *lab.violations, *lab.unsimulated])
        here = lab.world
        return World(
            frozenset(here.nodes), frozenset(here.storages), frozenset(here.pools), frozenset(here.guests),
            frozenset(s for host in here.pbs.values() for s in host.datastores), apis,
        )  # fmt: skip


@cache
def world() -> World:
    """Read once for all tests of a process, by making the plan of every sample."""
    from tests.control.samples import visits  # noqa: PLC0415 -- samples are made of this module's words

    return asyncio.run(_read(visits()))
