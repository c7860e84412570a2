"""An API that answers from a small world and notes what it is asked: for rules that need thousands of odd worlds."""

from dataclasses import dataclass, field, replace
from typing import Any

from mqtt_bridge.errors import NotFoundError, ProxmoxError
from mqtt_bridge.proxmox.api import OnProgress, TaskOutcome
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Endpoint, SiteSettings

FULL = {"/": {"VM.Audit": 1, "VM.PowerMgmt": 1, "Sys.Audit": 1, "Sys.PowerMgmt": 1}}


@dataclass
class FakeGuest:
    vmid: int
    kind: str = "qemu"
    node: str = "pve1"
    status: str = "running"
    name: str = "web"
    pool: str | None = None
    lock: str | None = None
    qmpstatus: str | None = None
    row_tags: str | None = None
    config: dict[str, Any] = field(default_factory=dict)
    current: dict[str, Any] = field(default_factory=dict)
    listed_status: str | None = None

    @property
    def row(self) -> dict[str, Any]:
        row = {
            "id": f"{self.kind}/{self.vmid}",
            "vmid": self.vmid,
            "type": self.kind,
            "node": self.node,
            "name": self.name,
            "status": self.listed_status or self.status,
            "template": self.config.get("template", 0),
        }
        more = {"pool": self.pool, "tags": self.row_tags, "lock": self.lock}
        return row | {key: value for key, value in more.items() if value is not None}

    @property
    def live(self) -> dict[str, Any]:
        row = {"vmid": self.vmid, "status": self.status, "name": self.name, "uptime": 500, **self.current}
        if self.config.get("template"):
            row["template"] = 1
        if self.lock:
            row["lock"] = self.lock
        return row


def site(slug: str = "lab", kind: str = "pve") -> SiteSettings:
    endpoint = Endpoint("pve1", "127.0.0.1", 8006, "pve", "root@pam", "t", Secret("s"))
    settings = SiteSettings(slug, slug, "pve", (endpoint,), clustered=True)
    return settings if kind == "pve" else replace(settings, kind="pbs")


@dataclass
class Recorder:
    """`writes` is what would have changed something; `error` makes every read fail."""

    guests: list[FakeGuest] = field(default_factory=list)
    nodes: dict[str, bool] = field(default_factory=lambda: {"pve1": True, "pve2": True})
    site: SiteSettings = field(default_factory=site)
    permissions: dict[str, Any] = field(default_factory=lambda: dict(FULL))
    addresses: dict[str, str] = field(default_factory=dict)
    error: ProxmoxError | None = None
    outcome: dict[str, Any] = field(default_factory=dict)
    answer: Any = "UPID:pve1:00000001:00000001:6B00E880:qmstart:100:root@pam!t:"
    task_error: ProxmoxError | None = None
    writes: list[tuple[tuple[Any, ...], dict[str, Any]]] = field(default_factory=list)
    reads: list[tuple[Any, ...]] = field(default_factory=list)

    async def get(self, *segments: str | int, **_: Any) -> Any:  # noqa: PLR0911 -- one row per path
        self.reads.append(segments)
        if self.error is not None:
            raise self.error
        match segments:
            case ("cluster", "resources"):
                return [guest.row for guest in self.guests] + [{"type": "node", "node": n} for n in self.nodes]
            case ("cluster", "status"):
                return [{"type": "node", "name": n, "ip": self.addresses.get(n)} for n in self.nodes]
            case ("nodes",):
                return [{"node": n, "status": "online" if up else "offline"} for n, up in self.nodes.items()]
            case ("access", "permissions"):
                return self.permissions
            case ("nodes", node, kind):
                return [g.live for g in self.guests if (g.node, g.kind) == (node, kind)]
            case ("nodes", node, kind, vmid, "status", "current"):
                guest = self._guest(node, kind, vmid)
                return guest.live | ({"qmpstatus": guest.qmpstatus} if guest.qmpstatus else {})
            case ("nodes", node, kind, vmid, "config"):
                return self._guest(node, kind, vmid).config
        raise AssertionError(f"unexpected read {segments}")

    def _guest(self, node: Any, kind: Any, vmid: Any) -> FakeGuest:
        for guest in self.guests:
            if (guest.node, guest.kind, guest.vmid) == (node, kind, vmid):
                return guest
        raise NotFoundError(f"Configuration file 'nodes/{node}/qemu-server/{vmid}.conf' does not exist", status=500)

    async def post(self, *segments: str | int, **params: Any) -> Any:
        self.writes.append((segments, params))
        if isinstance(self.answer, ProxmoxError):
            raise self.answer
        return self.answer

    async def put(self, *segments: str | int, **params: Any) -> Any:
        return await self.post(*segments, **params)

    async def delete(self, *segments: str | int, **params: Any) -> Any:
        return await self.post(*segments, **params)

    async def wait_task(
        self,
        upid: str,
        *,
        timeout: float,  # noqa: ASYNC109
        on_progress: OnProgress | None = None,
    ) -> TaskOutcome:
        del timeout, on_progress
        if self.task_error:
            raise self.task_error
        return replace(TaskOutcome(upid, finished=True, ok=True, warnings=0, exitstatus="OK"), **self.outcome)
