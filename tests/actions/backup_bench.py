"""A lab with a Backup Server, clients of both, and actions on them, for what is kept of guests."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mqtt_bridge.actions import ActionResult, Actions
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import ApiSettings, Endpoint, PermissionSettings, SiteSettings
from mqtt_bridge.targets import DatastoreRef, GuestRef, Ref, StorageRef
from mqtt_bridge.whoami import Identity
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.lab.state import Volume
from tests.policy.bench import client_of

ROOT = Principal("tester", "stdio", "exec")
OPEN = PermissionSettings(mcp_allow="exec", approval_required=frozenset())
VM, CT, STOPPED_VM, STOPPED_CT, TEMPLATE = 100, 102, 121, 117, 9000


@dataclass
class Bench:
    """`perform` as somebody who may do all, unless `permission` says otherwise."""

    lab: Lab
    clients: Mapping[str, ProxmoxClient]
    folder: Path

    def actions(self, permission: PermissionSettings = OPEN, **more: Any) -> Actions:
        clients = more.pop("clients", self.clients)
        return Actions(clients, permission, Audit(self.folder), me=Identity(), **more)

    async def perform(
        self, action: str, target: int | Ref, *, permission: PermissionSettings = OPEN, **args: Any
    ) -> ActionResult:
        """`dry_run`, `wait` and `approval` are the performer's own, the rest the action's arguments."""
        own = {name: args.pop(name) for name in ("dry_run", "wait", "approval") if name in args}
        ref = GuestRef(target) if isinstance(target, int) else target
        return await self.actions(permission).perform(ROOT, action, ref, args=args, timeout=30, **own)

    async def on_volume(self, action: str, volume: str, **more: Any) -> ActionResult:
        node = more.pop("on", None)
        return await self.perform(action, StorageRef(volume.partition(":")[0], node), volume=volume, **more)

    async def on_store(self, action: str, store: str = "main", **more: Any) -> ActionResult:
        return await self.perform(action, DatastoreRef(store), **more)

    def backups(self, storage: str, vmid: int | None = None) -> list[Volume]:
        """Newest first."""
        found = [v for place in self.lab.world.storages[storage].volumes.values() for v in place]
        wanted = [v for v in found if v.content == "backup" and vmid in {None, v.vmid}]
        return sorted(wanted, key=lambda volume: volume.ctime, reverse=True)

    @property
    def writes(self) -> list[str]:
        """Dry runs of a prune change nothing."""
        asked = [r for r in self.lab.requests if r.method != "GET" and not r.path.endswith("/prune")]
        return [f"{r.method} {r.path}" for r in asked]

    @property
    def events(self) -> list[str]:
        assert verify(self.folder / "audit.jsonl").ok
        lines = (self.folder / "audit.jsonl").read_bytes().splitlines()
        return [json.loads(line)["event"].removeprefix("action.") for line in lines]


def server_of(lab: Lab, account: str = "root@pam!full") -> ProxmoxClient:
    """The Backup Server's tokens have the values of the cluster's of the same names."""
    token = lab.account(account)
    [(name, host)] = lab.pbs_hosts.items()
    endpoint = Endpoint(
        name, "127.0.0.1", host.port, "pbs", token.user, token.name, Secret(token.value), fingerprint=lab.fingerprint
    )
    return ProxmoxClient(SiteSettings(name, name, "pbs", (endpoint,), clustered=False), ApiSettings(timeout=5))


@asynccontextmanager
async def opened(folder: Path, account: str = "root@pam!full", lab: Lab | None = None) -> AsyncIterator[Bench]:
    """Every request of a test must be one that Proxmox knows."""
    async with AsyncExitStack() as stack:
        running = lab or Lab(LabOptions(speed=20, pvestatd_interval=0))
        if lab is None:
            await stack.enter_async_context(running)
        pve = await stack.enter_async_context(client_of(running, account=account))
        pbs = await stack.enter_async_context(server_of(running, account))
        yield Bench(running, {"lab": pve, "pbs1": pbs}, folder)
        assert running.violations == []
        assert running.unsimulated == []
