"""Which backups a prune keeps, as the Backup Server chooses (`pbs-datastore/src/prune.rs`), and their removal."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .stores import chosen, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxmox_mcp.lab.tasks import Task

    from .call import Call
    from .state import Datastore, PbsSnapshot

FORMS = (
    ("keep-hourly", "%Y/%m/%d/%H"),
    ("keep-daily", "%Y/%m/%d"),
    ("keep-weekly", "%G/%V"),
    ("keep-monthly", "%Y/%m"),
    ("keep-yearly", "%Y"),
)


def kept(rows: Iterable[PbsSnapshot], keep: Mapping[str, Any]) -> set[int]:
    """The times of one group's backups that stay; all if nothing is said. Protected ones count for nothing."""
    newest = sorted((one for one in rows if not one.protected), key=lambda one: one.time, reverse=True)
    counts = {key: int(value) for key, value in keep.items() if key.startswith("keep-") and value}
    if not counts:
        return {one.time for one in newest}
    stays = {one.time for one in newest[: counts.get("keep-last", 0)]}
    for key, form in FORMS:
        before = {_at(at, form) for at in stays}
        fresh: list[str] = []
        for one in newest:
            period = _at(one.time, form)
            if one.time in stays or period in before or period in fresh:
                continue
            if len(fresh) == counts.get(key, 0):
                break
            fresh.append(period)
            stays.add(one.time)
    return stays


def _at(time: int, form: str) -> str:
    return datetime.fromtimestamp(time, UTC).strftime(form)


def group(call: Call) -> list[dict[str, Any]]:
    """One group, at once; `dry-run` removes nothing."""
    store = find(call, "Datastore.Modify")
    rows = chosen(call, store)
    stays = kept(rows, call.params)
    result = [
        {"backup-type": one.kind, "backup-id": one.ident, "backup-time": one.time,
         "keep": one.protected or one.time in stays, "protected": one.protected}
        for one in sorted(rows, key=lambda one: one.time)
    ]  # fmt: skip
    if not call.params.get("dry-run"):
        _remove(store, rows, stays)
    return result


def everything(store: Datastore, params: Mapping[str, Any], task: Task) -> None:
    """All groups of a namespace and, unless `max-depth` says otherwise, of those below."""
    top, depth = str(params.get("ns") or ""), params.get("max-depth")
    groups: dict[tuple[str, str, str], list[PbsSnapshot]] = {}
    for one in store.snapshots:
        below = one.namespace.removeprefix(top).strip("/")
        inside = one.namespace == top or not top or one.namespace.startswith(f"{top}/")
        if inside and (depth is None or (below.count("/") + 1 if below else 0) <= int(depth)):
            groups.setdefault((one.namespace, one.kind, one.ident), []).append(one)
    for (namespace, kind, ident), rows in groups.items():
        task.say(f'Pruning group {f"{namespace}:" if namespace else ""}"{kind}/{ident}"')
        if not params.get("dry-run"):
            _remove(store, rows, kept(rows, params))


def _remove(store: Datastore, rows: Iterable[PbsSnapshot], stays: set[int]) -> None:
    gone = [one for one in rows if not one.protected and one.time not in stays]
    store.snapshots[:] = [one for one in store.snapshots if not any(one is each for each in gone)]
