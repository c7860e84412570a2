"""A site as a whole: its cluster state, and the manifest of the ids that exist."""

from collections.abc import Collection, Sequence

from mqtt_bridge.model import ClusterState, GuestState, Manifest, NodeState
from mqtt_bridge.proxmox import rows
from mqtt_bridge.proxmox.sink import Sink


class ManifestKeeper:
    """Publishes the manifest when the ids change; each change is a new generation."""

    def __init__(self, site: str, sink: Sink) -> None:
        self._site = site
        self._sink = sink
        self._last = Manifest(generation=0)

    def publish(
        self,
        *,
        complete: bool,
        nodes: Collection[str],
        guests: Collection[int] = (),
        storages: Collection[str] = (),
        datastores: Collection[str] = (),
        disks: Collection[str] = (),
        zpools: Collection[str] = (),
    ) -> None:
        """After the states that it lists."""
        manifest = Manifest(
            generation=self._last.generation,
            complete=complete,
            nodes=tuple(sorted(nodes)),
            guests=tuple(sorted(guests)),
            storages=tuple(sorted(storages)),
            datastores=tuple(sorted(datastores)),
            disks=tuple(sorted(disks)),
            zpools=tuple(sorted(zpools)),
        )
        if manifest != self._last or not manifest.generation:
            self._last = manifest.model_copy(update={"generation": manifest.generation + 1})
            self._sink.put("manifest", self._last, site=self._site)


class Membership:
    """What `/cluster/status` says of the cluster itself; kept while it may not be read (no Sys.Audit)."""

    def __init__(self, name: str, *, clustered: bool) -> None:
        self._site_name = name
        self.name = name
        self.clustered = clustered
        self.quorate: bool | None = None

    def take(self, members: Sequence[rows.Row]) -> bool | None:
        """Returns the new quorum where it has turned, else None."""
        cluster = next((m for m in members if m.get("type") == "cluster"), None)
        if members:
            self.name = str(cluster["name"]) if cluster else self._site_name
            self.clustered = cluster is not None
        before, self.quorate = self.quorate, None if cluster is None else bool(cluster.get("quorate"))
        return self.quorate if None not in (before, self.quorate) and before != self.quorate else None


def cluster_state(
    site: str,
    membership: Membership,
    nodes: Sequence[NodeState],
    guests: Sequence[GuestState] | None,
    *,
    ha: Sequence[rows.Row] | None,
    not_backed_up: tuple[int, ...] | None,
) -> ClusterState:
    """The totals; `guests` and `ha` are None where the token may not see them."""
    online = [n for n in nodes if n.status == "online"]
    real = None if guests is None else [g for g in guests if not g.template]
    return ClusterState(
        site=site,
        name=membership.name,
        kind="cluster" if membership.clustered else "standalone",
        quorate=membership.quorate,
        version=next((n.version for n in online if n.version), None),
        nodes_total=len(nodes),
        nodes_online=len(online),
        guests_total=None if real is None else len(real),
        guests_running=None if real is None else sum(g.status == "running" for g in real),
        guests_stopped=None if real is None else sum(g.status == "stopped" for g in real),
        templates=None if guests is None else sum(g.template for g in guests),
        cpus=sum(n.cpus or 0 for n in online) or None,
        maxmem=sum(n.maxmem or 0 for n in online) or None,
        ha_managed=None if ha is None else sum(h.get("type") == "service" for h in ha),
        ha_errors=tuple(sorted(str(h.get("sid")) for h in ha or () if h.get("state") in ("error", "fence"))),
        not_backed_up=not_backed_up,
    )
