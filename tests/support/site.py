"""A site as a bridge would publish it, by hand: what mirror and tools are tested on."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from mqtt_bridge.model import (
    BridgeInfo,
    ClusterState,
    Event,
    EventList,
    GuestMetrics,
    GuestState,
    Heartbeat,
    Manifest,
    Model,
    NodeMetrics,
    NodeState,
    StorageState,
    TaskInfo,
    TaskList,
    utc,
)
from mqtt_bridge.mqtt.bus import Bus
from mqtt_bridge.topics import KINDS, Topics

WINDOW = 2000


def now(ago: float = 0.0) -> str:
    return utc(time.time() - ago) or ""


@dataclass
class Site:
    """Publishes on `bus`. Guests 100 and up, every third a container, every fourth stopped."""

    bus: Bus
    guests: int = 24
    nodes: int = 3
    slug: str = "lab"
    bridge: str = "main"
    names: Topics = field(default_factory=Topics)
    backed_up: str = field(default_factory=lambda: now(3600))

    async def put(self, kind: str, value: Model | str | bytes, **ids: str | int) -> None:
        raw = value.payload() if isinstance(value, Model) else value.encode() if isinstance(value, str) else value
        ids = {"site": self.slug, "bridge": self.bridge, **ids}
        await self.bus.publish(self.names.build(kind, **ids), raw, qos=KINDS[kind].qos, retain=True)

    async def clear(self, kind: str, **ids: str | int) -> None:
        await self.put(kind, b"", **ids)

    @property
    def vmids(self) -> tuple[int, ...]:
        return tuple(range(100, 100 + self.guests))

    @property
    def node_names(self) -> tuple[str, ...]:
        return tuple(f"pve{n + 1}" for n in range(self.nodes))

    def guest(self, vmid: int, **changes: object) -> GuestState:
        running = vmid % 4 != 3
        return GuestState(
            **{
                "site": self.slug,
                "vmid": vmid,
                "type": "lxc" if vmid % 3 == 2 else "qemu",
                "name": f"guest{vmid}",
                "node": self.node_names[vmid % self.nodes],
                "status": "running" if running else "stopped",
                "available": True,
                "tags": ("prod", "web") if vmid % 2 else ("test",),
                "pool": "prod" if vmid % 2 else None,
                "cpus": 4,
                "maxmem": 8 << 30,
                "maxdisk": 32 << 30,
                "ips": ("10.0.0.1",) if running else None,
                "last_backup": self.backed_up,
                "backup_covered": True,
                **changes,
            }
        )

    def manifest(self, **changes: object) -> Manifest:
        return Manifest(
            **{
                "generation": 1,
                "nodes": self.node_names,
                "guests": self.vmids,
                "storages": ("nfs", *(f"{node}/local" for node in self.node_names)),
                **changes,
            }
        )

    def task(self, number: int, **changes: object) -> TaskInfo:
        return TaskInfo(
            **{
                "upid": f"UPID:pve1:0000{number:04X}:0001A2B3:65A00000:vzdump:{100 + number}:root@pam:",
                "site": self.slug,
                "node": "pve1",
                "type": "vzdump",
                "guest": 100 + number,
                "user": "root@pam",
                "status": "ok",
                "exitstatus": "OK",
                "started_at": now(60 * number + 60),
                "ended_at": now(60 * number),
                **changes,
            }
        )

    async def beat(self, ago: float = 0.0, **changes: object) -> None:
        fields = {
            "bridge": self.bridge,
            "polled_at": now(ago),
            "sent_at": now(ago),
            "duration_ms": 12,
            "endpoint": "pve1",
        }
        await self.put("heartbeat", Heartbeat(**{**fields, **changes}))

    async def publish_guests(self, vmids: Iterable[int]) -> None:
        jobs = []
        for vmid in vmids:
            state = self.guest(vmid)
            jobs.append(self.put("guest", state, vmid=vmid))
            if state.status == "running":
                jobs.append(self.put("guest_metrics", METRICS, vmid=vmid))
        for start in range(0, len(jobs), WINDOW):
            await asyncio.gather(*jobs[start : start + WINDOW])

    async def publish_nodes(self) -> None:
        for name in self.node_names:
            fields = {"status": "online", "available": True, "ip": "192.0.2.1", "version": "9.2.11", "cpus": 16}
            await self.put("node", NodeState(site=self.slug, node=name, **fields), node=name)
            await self.put("node_metrics", NODE_METRICS, node=name)
            await self.put("storage", self.storage(name), node=name, storage="local")
        await self.put("shared_storage", self.storage(None), storage="nfs")

    def storage(self, node: str | None, **changes: object) -> StorageState:
        fields = {
            "site": self.slug,
            "storage": "local" if node else "nfs",
            "node": node,
            "nodes": () if node else self.node_names,
            "shared": node is None,
            "type": "dir" if node else "nfs",
            "status": "available",
            "available": True,
            "used": 40 << 30,
            "total": 100 << 30,
            "used_percent": 40.0,
        }
        return StorageState(**{**fields, **changes})

    async def publish(self) -> None:
        """Everything, in the order in which a bridge does it."""
        await self.put("bridge_state", "online")
        await self.put(
            "bridge_info",
            BridgeInfo(version="1", started_at=now(), bridge=self.bridge, instance="i", sites=(self.slug,)),
        )
        await self.put("site_state", "online")
        await self.publish_nodes()
        await self.publish_guests(self.vmids)
        cluster = {"kind": "cluster", "quorate": True, "nodes_total": self.nodes, "nodes_online": self.nodes}
        await self.put("cluster", ClusterState(site=self.slug, name="Lab", guests_total=self.guests, **cluster))
        tasks = (self.task(0), self.task(1, status="failed", exitstatus="job errors"))
        await self.put("tasks", TaskList(tasks=tasks))
        event = Event(
            id="1", kind="guest.stopped", title="guest103 stopped", source="websocket", timestamp=now(), site=self.slug,
            guest=103, node="pve1",
        )  # fmt: skip
        await self.put("events", EventList(events=(event,)))
        await self.beat()
        await self.put("manifest", self.manifest())


METRICS = GuestMetrics(
    cpu_percent=3.5, mem=1 << 30, maxmem=8 << 30, mem_percent=12.5, uptime=3600, sampled_at="2026-01-01T00:00:00Z"
)
NODE_METRICS = NodeMetrics(
    cpu_percent=10, mem=8 << 30, maxmem=32 << 30, mem_percent=25, sampled_at="2026-01-01T00:00:00Z"
)
