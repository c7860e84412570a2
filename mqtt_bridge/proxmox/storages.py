"""The storages of one site: one state per node, one for all nodes where a storage is shared."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from mqtt_bridge.model import StorageState, percent
from mqtt_bridge.proxmox import rows
from mqtt_bridge.proxmox.sink import Sink

GRACE = 2  # polls for which a storage may be unknown while its node is up: before pvestatd has reported it always is


class StorageBook:
    """All storages by id: `node/storage`, or `storage` alone for a shared one."""

    def __init__(self, site: str, sink: Sink) -> None:
        self.site = site
        self.states: dict[str, StorageState] = {}
        self._sink = sink
        self._down: dict[str, int] = {}
        self.turned: list[str] = []  # those that the last poll found changed; one that went offline after a grace

    def take(self, raw: Iterable[rows.Row], online: Mapping[str, bool]) -> set[str]:
        """The storage rows of a poll; publishes what changed and returns the ids seen."""
        shared: dict[str, list[rows.Row]] = defaultdict(list)
        seen = set()
        self.turned = []
        for row in raw:
            if row.get("shared"):
                shared[str(row["storage"])].append(row)
            else:
                identity = f"{row['node']}/{row['storage']}"
                seen.add(identity)
                self._take(identity, self._state([row], online), online)
        for name, group in shared.items():
            seen.add(name)
            self._take(name, self._state(group, online), online)
        return seen

    def node_up(self, state: StorageState, online: Mapping[str, bool]) -> bool:
        """Whether a node that has it is up, so that it ought to be available."""
        return any(online.get(n, False) for n in ((state.node,) if state.node else state.nodes))

    def _take(self, identity: str, new: StorageState, online: Mapping[str, bool]) -> None:
        changed = self._put(identity, new)
        if new.available:
            self._down.pop(identity, None)
            if changed:
                self.turned.append(identity)
        elif self.node_up(new, online):
            self._down[identity] = self._down.get(identity, 0) + 1
            if self._down[identity] == GRACE:
                self.turned.append(identity)
        else:
            self._down.pop(identity, None)

    def mark_unavailable(self, identity: str) -> None:
        """Its data is not to be trusted any more."""
        self._put(identity, self.states[identity].model_copy(update={"available": False, "status": "unknown"}))

    def remove(self, identity: str) -> None:
        """It is gone: its topic is cleared."""
        state = self.states.pop(identity, None)
        self._down.pop(identity, None)
        if state is not None:
            kind, ids = _topic(state)
            self._sink.drop(kind, **ids)

    def _state(self, group: list[rows.Row], online: Mapping[str, bool]) -> StorageState:
        group = sorted(group, key=lambda r: (r.get("status") != "available", str(r["node"])))
        best = next((r for r in group if online.get(str(r["node"]), False)), group[0])
        is_shared = bool(best.get("shared"))
        available = best.get("status") == "available" and online.get(str(best["node"]), False)
        used, total = best.get("disk"), best.get("maxdisk")
        return StorageState(
            site=self.site,
            storage=str(best["storage"]),
            node=None if is_shared else str(best["node"]),
            nodes=tuple(sorted(str(r["node"]) for r in group)),
            shared=is_shared,
            type=best.get("plugintype"),
            content=rows.split_list(best.get("content")),
            status="available" if best.get("status") == "available" else "unknown",
            available=available,
            used=used if available else None,
            total=total if available else None,
            used_percent=percent(used, total) if available else None,
        )

    def _put(self, identity: str, new: StorageState) -> bool:
        old = self.states.get(identity)
        if old is not None and old.model_copy(update={"used": new.used}) == new:
            return False  # only bytes below a tenth of a percent
        self.states[identity] = new
        kind, ids = _topic(new)
        self._sink.put(kind, new, **ids)
        return True


def _topic(state: StorageState) -> tuple[str, dict[str, str]]:
    if state.shared:
        return "shared_storage", {"site": state.site, "storage": state.storage}
    return "storage", {"site": state.site, "node": str(state.node), "storage": state.storage}
