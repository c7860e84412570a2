"""What an action is asked for and what it touches, as Proxmox says at that moment. `proxmox.lookup` reads it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from mqtt_bridge.model import GuestStatus, GuestType

Role = Literal["read", "write", "destroy", "create"]


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
class StorageRef:
    """A storage as a caller names it; `node` where it is not shared and several nodes have one of that name."""

    storage: str
    node: str | None = None
    site: str | None = None


@dataclass(frozen=True)
class DatastoreRef:
    """A Backup Server's datastore as a caller names it."""

    store: str
    site: str | None = None


@dataclass(frozen=True)
class SiteRef:
    """A site as a caller names it; None where there is only one."""

    site: str | None = None


Ref = GuestRef | NodeRef | StorageRef | DatastoreRef | SiteRef


@dataclass(frozen=True)
class GuestTarget:
    """A guest, read fresh. `tags` are lower case: Proxmox does not tell `Prod` from `prod`.

    `config` is Proxmox's answer to its configuration, empty where that was not read.
    """

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
    config: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def label(self) -> str:
        """`VM 100 (web01)`."""
        return guest_label(self.type, self.vmid, self.name)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same guest, unchanged: an approval holds for nothing else."""
        digest = self.config.get("digest")
        return {"guest": self.vmid, "type": self.type, "node": self.node, "name": self.name, "digest": digest}


@dataclass(frozen=True)
class NewGuest:
    """A guest that an action makes, with what it will be once it exists: the rules hold for it as for any other."""

    site: str
    vmid: int
    type: GuestType
    node: str
    name: str = ""
    tags: frozenset[str] = frozenset()
    pool: str | None = None
    is_self: bool = False

    @property
    def label(self) -> str:
        """`VM 105 (web02)`."""
        return guest_label(self.type, self.vmid, self.name)

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same."""
        return {"new": self.vmid, "type": self.type, "node": self.node, "name": self.name}


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

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same."""
        return {"node": self.node, "online": self.online}


@dataclass(frozen=True)
class StorageTarget:
    """A storage, read fresh; `node` is where it is reached."""

    site: str
    storage: str
    node: str
    type: str = ""
    shared: bool = False
    content: frozenset[str] = frozenset()
    is_self: bool = False

    @property
    def label(self) -> str:
        """`storage local-zfs on pve1`."""
        return f"storage {self.storage}" if self.shared else f"storage {self.storage} on {self.node}"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same."""
        return {"storage": self.storage, "node": "" if self.shared else self.node, "type": self.type}


@dataclass(frozen=True)
class BackupTarget:
    """One backup: of a guest that may not exist any more, so `pool` is None where it does not."""

    site: str
    volume: str
    vmid: int | None
    node: str = ""
    pool: str | None = None
    tags: frozenset[str] = frozenset()
    protected: bool = False
    is_self: bool = False

    @property
    def label(self) -> str:
        """`backup local:backup/vzdump-qemu-100-….vma.zst`."""
        return f"backup {self.volume}"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same."""
        return {"backup": self.volume, "protected": self.protected}


@dataclass(frozen=True)
class DatastoreTarget:
    """A Backup Server's datastore. `whole`: the action reaches backups of guests that it does not name."""

    site: str
    store: str
    whole: bool = False
    node: str = ""
    is_self: bool = False

    @property
    def label(self) -> str:
        """`datastore main`."""
        return f"datastore {self.store}"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same."""
        return {"datastore": self.store}


@dataclass(frozen=True)
class SiteTarget:
    """A whole site."""

    site: str
    node: str = ""
    is_self: bool = False

    @property
    def label(self) -> str:
        """`site lab`."""
        return f"site {self.site}"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same."""
        return {"site": self.site}


@dataclass(frozen=True)
class WebTarget:
    """A host on the web that Proxmox is told to fetch something from: `host` is its name, with `:port` if not 443."""

    site: str
    host: str
    node: str = ""
    is_self: bool = False

    @property
    def label(self) -> str:
        """`web host cloud.debian.org`."""
        return f"web host {self.host}"

    @property
    def identity(self) -> dict[str, Any]:
        """What makes it the same."""
        return {"web": self.host}


Target = GuestTarget | NewGuest | NodeTarget | StorageTarget | BackupTarget | DatastoreTarget | SiteTarget | WebTarget


@dataclass(frozen=True)
class Touched:
    """One thing that an action touches, and how."""

    target: Target
    role: Role = "write"


def guest_label(kind: GuestType, vmid: int, name: str) -> str:
    """A guest as people write it."""
    short = "VM" if kind == "qemu" else "CT"
    return f"{short} {vmid} ({name})" if name else f"{short} {vmid}"
