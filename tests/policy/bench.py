"""A lab, a client of it, and actions on it, for the tests of what is done to guests and nodes."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
from mqtt_bridge.targets import GuestRef, NodeRef
from mqtt_bridge.whoami import Identity
from proxmox_mcp.lab import Lab, LabOptions

ROOT = Principal("tester", "stdio", "exec")
OPEN = PermissionSettings(mcp_allow="exec", approval_required=frozenset())
VM, STOPPED_VM, HA_VM, CT, STOPPED_CT, TEMPLATE = 100, 121, 116, 109, 117, 9000


@dataclass
class Bench:
    """A lab, a client of it, and actions on it."""

    lab: Lab
    client: ProxmoxClient
    folder: Path
    told: list[tuple[str, int | str]]

    def actions(self, permission: PermissionSettings = OPEN, *, me: Identity | None = None, **more: Any) -> Actions:
        async def after(site: str, what: int | str) -> None:
            self.told.append((site, what))

        return Actions(
            more.pop("clients", {"lab": self.client}), permission, Audit(self.folder),
            after=after, me=me or Identity(), **more,
        )  # fmt: skip

    async def perform(self, action: str, target: int | str, **more: Any) -> ActionResult:
        ref = NodeRef(target) if isinstance(target, str) else GuestRef(target)
        return await self.actions().perform(ROOT, action, ref, **({"timeout": 20} | more))

    @property
    def writes(self) -> list[str]:
        return [f"{r.method} {r.path}" for r in self.lab.requests if r.method != "GET"]

    @property
    def records(self) -> list[dict[str, Any]]:
        assert verify(self.folder / "audit.jsonl").ok
        return [json.loads(line) for line in (self.folder / "audit.jsonl").read_bytes().splitlines()]

    @property
    def events(self) -> list[str]:
        return [record["event"].removeprefix("action.") for record in self.records]


def client_of(lab: Lab, slug: str = "lab", account: str = "root@pam!full", timeout: float = 5) -> ProxmoxClient:
    token = lab.account(account)
    endpoints = tuple(
        Endpoint(name, "127.0.0.1", host.port, "pve", token.user, token.name, Secret(token.value),
                 fingerprint=lab.fingerprint)
        for name, host in lab.hosts.items()
    )  # fmt: skip
    return ProxmoxClient(SiteSettings(slug, slug, "pve", endpoints, clustered=True), ApiSettings(timeout=timeout))


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Bench]:
    """Every request of a test must be one that Proxmox knows."""
    async with Lab(LabOptions(speed=10)) as lab, client_of(lab) as client:
        yield Bench(lab, client, folder, [])
        assert lab.violations == []
        assert lab.unsimulated == []
