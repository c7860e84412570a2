"""What a prune would remove: the Backup Server's own dry run, group by group, so that it can be judged and told."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mqtt_bridge.actions.row import ActionError
from mqtt_bridge.model import utc
from mqtt_bridge.proxmox.api import Api

MOST_GROUPS = 2000
AT_ONCE = 4  # dry runs under way
SHOWN_GROUPS = 15
SHOWN_TIMES = 3
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Doomed:
    """One backup that would go."""

    namespace: str
    kind: str
    ident: str
    time: int

    @property
    def group(self) -> str:
        """`offsite: vm/100`."""
        return f"{f'{self.namespace}: ' if self.namespace else ''}{self.kind}/{self.ident}"

    @property
    def volume(self) -> str:
        """`vm/100/2026-01-31T02:00:00Z`, with the namespace before it."""
        return f"{self.group}/{utc(self.time)}"

    @property
    def vmid(self) -> int | None:
        """The guest's, if it is one's."""
        return int(self.ident) if self.kind in {"vm", "ct"} and self.ident.isdigit() else None


@dataclass(frozen=True)
class Preview:
    """`kept` is how many stay in the groups that were looked at."""

    doomed: tuple[Doomed, ...]
    kept: int

    @property
    def notes(self) -> tuple[str, ...]:
        """For an approver: how many, and which of each group."""
        groups: dict[str, list[int]] = {}
        for one in self.doomed:
            groups.setdefault(one.group, []).append(one.time)
        lines = [f"It removes {len(self.doomed)} backups of {len(groups)} groups and keeps {self.kept}."]
        for group, times in list(groups.items())[:SHOWN_GROUPS]:
            named = ", ".join(str(utc(at)) for at in sorted(times)[:SHOWN_TIMES])
            more = f" and {len(times) - SHOWN_TIMES} more" if len(times) > SHOWN_TIMES else ""
            lines.append(f"{group}: {named}{more}")
        if len(groups) > SHOWN_GROUPS:
            lines.append(f"and of {len(groups) - SHOWN_GROUPS} more groups")
        return tuple(lines)


async def preview(api: Api, store: str, scope: Mapping[str, Any], keep: Mapping[str, int]) -> Preview:
    """`scope`: ns, max-depth, or a group in ns. Nothing is removed: every call says `dry-run`."""
    groups = await _groups(api, store, scope)
    if len(groups) > MOST_GROUPS:
        raise ActionError(
            f"It would reach {len(groups)} groups, too many to say what goes.", cure="Name a namespace or a group."
        )
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(namespace: str, kind: str, ident: str) -> list[tuple[str, Row]]:
        group = {"ns": namespace or None, "backup-type": kind, "backup-id": ident}
        params: dict[str, Any] = {**group, **keep, "dry-run": True}
        async with gate:
            rows = await api.post("admin", "datastore", store, "prune", **params)
        return [(namespace, row) for row in rows]

    found = [pair for rows in await asyncio.gather(*(one(*group) for group in groups)) for pair in rows]
    doomed = [
        Doomed(namespace, str(row["backup-type"]), str(row["backup-id"]), int(row["backup-time"]))
        for namespace, row in found
        if not row.get("keep") and not row.get("protected")
    ]
    doomed.sort(key=lambda each: (each.group, each.time))
    return Preview(tuple(doomed), len(found) - len(doomed))


async def _groups(api: Api, store: str, scope: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Namespace, type and id of each."""
    path = ("admin", "datastore", store)
    top = str(scope.get("ns") or "")
    if "backup-id" in scope:
        return [(top, str(scope["backup-type"]), str(scope["backup-id"]))]
    below: dict[str, Any] = {"parent": top or None, "max-depth": scope.get("max-depth")}
    spaces = await api.get(*path, "namespace", **below)
    names: Sequence[str] = sorted({str(row.get("ns") or "") for row in spaces} | {top})
    listed = await asyncio.gather(*(api.get(*path, "groups", ns=name or None) for name in names))
    return [
        (name, str(row["backup-type"]), str(row["backup-id"]))
        for name, rows in zip(names, listed, strict=True)
        for row in rows
    ]
