"""What an action is asked for and what it touches, as Proxmox says at that moment. `proxmox.lookup` reads it."""

from dataclasses import dataclass

from mqtt_bridge.model import GuestStatus, GuestType


@dataclass(frozen=True)
class GuestRef:
    """A guest as a caller names it; `site` and `node` only where the VMID alone is ambiguous."""

    vmid: int
    site: str | None = None
    node: str | None = None


@dataclass(frozen=True)
class NodeRef:
    """A node as a caller names it."""

    node: str
    site: str | None = None


@dataclass(frozen=True)
class GuestTarget:
    """A guest, read fresh. `tags` are lower case: Proxmox does not tell `Prod` from `prod`."""

    site: str
    vmid: int
    type: GuestType
    node: str
    name: str
    state: GuestStatus
    tags: frozenset[str] = frozenset()
    pool: str | None = None
    template: bool = False
    lock: str | None = None
    protection: bool | None = None
    ha: bool = False
    uptime: int | None = None
    is_self: bool = False

    @property
    def label(self) -> str:
        """`VM 100 (web01)`."""
        kind = "VM" if self.type == "qemu" else "CT"
        return f"{kind} {self.vmid} ({self.name})" if self.name else f"{kind} {self.vmid}"


@dataclass(frozen=True)
class NodeTarget:
    """A node, read fresh. `is_self`: this process runs on it, or shares its network."""

    site: str
    node: str
    online: bool
    is_self: bool = False

    @property
    def label(self) -> str:
        """`node pve1`."""
        return f"node {self.node}"


Target = GuestTarget | NodeTarget
