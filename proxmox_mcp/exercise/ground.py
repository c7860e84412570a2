"""Where the exercise takes place: a node, storages, free ids, all read from Proxmox; and what it has made so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mqtt_bridge.errors import BridgeError, RejectedError

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

MARK = "pmcp-exercise"  # the tag of all that it makes, and how their names begin
FIRST = 99_000  # ids are looked for from here on
IDS = 5
_SNAPSHOTS = frozenset({"lvmthin", "zfspool", "rbd", "btrfs"})
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Picture:
    """An image to download, if one was given."""

    url: str
    sha256: str
    storage: str


@dataclass
class Ground:
    """What there is, and what was made. Empty text: there is none of it, and what needs it is left out."""

    site: str
    node: str
    elsewhere: str
    disks: str
    rootfs: str
    second: str
    backups: str
    bridge: str
    template: str
    datastore: str
    ids: tuple[int, ...]
    pool: str | None = None
    picture: Picture | None = None
    upid: str = ""
    guests: dict[int, str] = field(default_factory=dict)
    volumes: list[str] = field(default_factory=list)

    @property
    def vm(self) -> int:
        """The virtual machine."""
        return self.ids[0]

    @property
    def ct(self) -> int:
        """The container."""
        return self.ids[1]

    @property
    def clone(self) -> int:
        """The virtual machine's clone, which becomes a template."""
        return self.ids[2]

    @property
    def restored(self) -> int:
        """What is restored from the container's backup."""
        return self.ids[3]

    @property
    def nobody(self) -> int:
        """An id that stays free: what is asked of it must be refused."""
        return self.ids[4]

    def backup_of(self, vmid: int) -> str:
        """The volume of a guest's backup, empty where none was made."""
        parts = (f"-{vmid}-", f"/{vmid}/")
        return next((v for v in self.volumes if any(part in v for part in parts)), "")


async def survey(
    client: "ProxmoxClient", servers: Mapping[str, "ProxmoxClient"], *, node: str = "", storage: str = "",
    pool: str | None = None, picture: Picture | None = None,
) -> Ground:  # fmt: skip
    """Reads what there is; BridgeError where nothing can be made."""
    nodes = [str(row["node"]) for row in await client.get("nodes") if row.get("status") == "online"]
    here = node or (nodes[0] if nodes else "")
    if here not in nodes:
        raise BridgeError(f"There is no node {here or 'at all'} online.", cure=f"Online: {', '.join(nodes) or 'none'}.")
    rows = [row for row in await client.get("nodes", here, "storage", enabled=1) if row.get("active")]
    disks = storage or _best(rows, "images")
    if not disks:
        raise BridgeError(f"No active storage of {here} takes disks, or the token sees none.", cure="Datastore.Audit.")
    backups, datastore = await _backups(rows, servers)
    return Ground(
        site=client.site.slug,
        node=here,
        elsewhere=await _elsewhere(client, nodes, here, disks),
        disks=disks,
        rootfs=_best(rows, "rootdir"),
        second=_best([row for row in rows if row["storage"] != disks], "images"),
        backups=backups,
        bridge=await _bridge(client, here),
        template=await _template(client, here, rows),
        datastore=datastore,
        ids=await _free(client),
        pool=pool,
        picture=picture,
    )


def _takes(row: Row, content: str) -> bool:
    return content in str(row.get("content", "")).split(",")


def _best(rows: Iterable[Row], content: str) -> str:
    """One whose disks can be snapshotted, if there is one."""
    fit = [row for row in rows if _takes(row, content)]
    fit.sort(key=lambda row: (row.get("type") not in _SNAPSHOTS, str(row["storage"])))
    return str(fit[0]["storage"]) if fit else ""


async def _backups(rows: Iterable[Row], servers: Mapping[str, "ProxmoxClient"]) -> tuple[str, str]:
    """A Backup Server's storage where we can ask that server too, else any."""
    fit = sorted((row for row in rows if _takes(row, "backup")), key=lambda row: str(row["storage"]))
    known = {str(s["store"]) for api in servers.values() for s in await api.get("admin", "datastore")}
    for row in fit:
        if row.get("type") == "pbs" and known:
            store = next((s for s in sorted(known) if s == row.get("datastore")), "main" if "main" in known else "")
            return str(row["storage"]), store
    return (str(fit[0]["storage"]) if fit else ""), ""


async def _elsewhere(client: "ProxmoxClient", nodes: list[str], here: str, disks: str) -> str:
    for name in nodes:
        if name == here:
            continue
        rows = await client.get("nodes", name, "storage", enabled=1)
        if any(row["storage"] == disks and row.get("active") for row in rows):
            return name
    return ""


async def _bridge(client: "ProxmoxClient", node: str) -> str:
    rows = await client.get("nodes", node, "network", type="any_bridge")
    names = sorted(str(row["iface"]) for row in rows if row.get("iface"))
    return names[0] if names else "vmbr0"


async def _template(client: "ProxmoxClient", node: str, rows: Iterable[Row]) -> str:
    for row in rows:
        if _takes(row, "vztmpl"):
            found = await client.get("nodes", node, "storage", str(row["storage"]), "content", content="vztmpl")
            if volumes := sorted(str(volume["volid"]) for volume in found):
                return volumes[0]
    return ""


async def _free(client: "ProxmoxClient") -> tuple[int, ...]:
    """Ids in a row that Proxmox says are free; those of guests that the token may not see are not."""
    first = FIRST
    while True:
        ids = tuple(range(first, first + IDS))
        if all([await is_free(client, vmid) for vmid in ids]):
            return ids
        first += IDS


async def is_free(client: "ProxmoxClient", vmid: int) -> bool:
    """Whether there is no guest of this id, seen or not."""
    try:
        await client.get("cluster", "nextid", vmid=vmid)
    except RejectedError:
        return False
    return True
