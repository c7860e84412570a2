"""Raw answers of the Proxmox API to figures and facts: pure functions, the place where raw dicts end.

Sources: `/cluster/resources`, `/cluster/status`, `/nodes/N/status`, `status/current`, `config`. What an answer leaves
out (a guest just created, a token without the privilege, a node that is gone) is None, never 0.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mqtt_bridge.model import GuestMetrics, GuestStatus, NodeMetrics, percent
from mqtt_bridge.proxmox.upid import Upid

Row = Mapping[str, Any]


def split_list(text: str | None) -> tuple[str, ...]:
    """Tags and contents: separated by `;`, `,` or blanks, in any order; sorted here, so that order is no change."""
    return tuple(sorted({t for t in (text or "").replace(";", " ").replace(",", " ").split() if t}))


def guest_facts(row: Row) -> tuple[Any, ...]:
    """What makes a guest's slow state; equal facts need no new GuestState."""
    return (
        row["type"],
        row["node"],
        row.get("status"),
        row.get("name"),
        row.get("template"),
        row.get("lock"),
        row.get("tags"),
        row.get("pool"),
        row.get("hastate"),
        row.get("maxcpu"),
        row.get("maxmem"),
        row.get("maxdisk"),
    )


def guest_status(row: Row, *, node_online: bool, qmpstatus: str | None = None) -> GuestStatus:
    """A guest of a lost node goes on saying "running" for minutes: it is unknown at once."""
    status = row.get("status")
    if not node_online or status not in ("running", "stopped"):
        return "unknown"
    if status == "stopped":
        return "suspended" if row.get("lock") == "suspended" else "stopped"
    return "paused" if qmpstatus in ("paused", "suspended", "prelaunch") else "running"


class Rates:
    """Counters to rates. The clock is the guest's own uptime, because pvestatd samples every 10 s, not when we ask."""

    __slots__ = ("_last", "values")
    COUNTERS = ("netin", "netout", "diskread", "diskwrite")

    def __init__(self) -> None:
        self._last: tuple[int, tuple[float, ...]] | None = None
        self.values: tuple[float | None, ...] = (None,) * len(self.COUNTERS)

    def update(self, row: Row) -> tuple[float | None, ...]:
        """Bytes per second since the previous sample; None until there are two, 0 for a guest that is stopped."""
        uptime = int(row.get("uptime") or 0)
        if uptime == 0:
            self._last = None
            self.values = (0.0 if row.get("status") == "stopped" else None,) * len(self.COUNTERS)
            return self.values
        counters = tuple(float(row.get(c) or 0) for c in self.COUNTERS)
        last = self._last
        if last is None or uptime < last[0]:
            self.values = (None,) * len(self.COUNTERS)
        elif uptime > last[0]:
            elapsed = uptime - last[0]
            self.values = tuple(
                max(0.0, round((now - then) / elapsed, 1)) for now, then in zip(counters, last[1], strict=True)
            )
        else:
            return self.values
        self._last = (uptime, counters)
        return self.values


def guest_figures(row: Row, rates: Sequence[float | None]) -> tuple[float | None, ...]:
    """The figures that the dead band judges: cpu %, memory %, the four rates."""
    cpu = row.get("cpu")
    return (
        None if cpu is None else round(100 * cpu, 1),
        percent(row.get("mem"), row.get("maxmem")),
        *rates,
    )


def guest_metrics(row: Row, rates: Sequence[float | None], sampled_at: str) -> GuestMetrics:
    """The figures of one guest; a VM's disk usage is not known to Proxmox (it says 0)."""
    cpu = row.get("cpu")
    disk = row.get("disk") if row["type"] == "lxc" else None
    return GuestMetrics(
        cpu_percent=None if cpu is None else round(100 * cpu, 1),
        mem=row.get("mem"),
        maxmem=row.get("maxmem"),
        mem_percent=percent(row.get("mem"), row.get("maxmem")),
        disk=disk,
        maxdisk=row.get("maxdisk"),
        disk_percent=percent(disk, row.get("maxdisk")),
        netin_rate=rates[0],
        netout_rate=rates[1],
        diskread_rate=rates[2],
        diskwrite_rate=rates[3],
        uptime=row.get("uptime"),
        sampled_at=sampled_at,
    )


def past_dead_band(old: Sequence[float | None], new: Sequence[float | None]) -> bool:
    """Worth publishing: cpu or memory moved by 2 points, or a rate by 5 % (of the larger; at least 1 kB/s)."""
    for index, (then, now) in enumerate(zip(old, new, strict=True)):
        if (then is None) != (now is None):
            return True
        if then is None or now is None:
            continue
        limit = 2.0 if index < 2 else max(1000.0, 0.05 * max(then, now))  # noqa: PLR2004 -- cpu and memory come first
        if abs(now - then) >= limit:
            return True
    return False


def node_figures(row: Row, details: Row) -> tuple[float | None, ...]:
    """The figures of a node that the dead band judges."""
    cpu = row.get("cpu")
    wait = details.get("wait")
    return (
        None if cpu is None else round(100 * cpu, 1),
        percent(row.get("mem"), row.get("maxmem")),
        percent(row.get("disk"), row.get("maxdisk")),
        None if wait is None else round(100 * wait, 1),
    )


def node_metrics(row: Row, details: Row, running: int | None, sampled_at: str) -> NodeMetrics:
    """From a node's row in `/cluster/resources` and its own `/nodes/N/status` (both empty for a lost node)."""
    cpu, mem_percent, disk_percent, wait = node_figures(row, details)
    swap = details.get("swap") or {}
    load = details.get("loadavg") or (None,)
    return NodeMetrics(
        cpu_percent=cpu,
        mem=row.get("mem"),
        maxmem=row.get("maxmem"),
        mem_percent=mem_percent,
        disk=row.get("disk"),
        maxdisk=row.get("maxdisk"),
        disk_percent=disk_percent,
        swap=swap.get("used"),
        maxswap=swap.get("total"),
        load1=None if load[0] is None else float(load[0]),
        io_wait_percent=wait,
        uptime=row.get("uptime"),
        guests_running=running,
        sampled_at=sampled_at,
    )


def agent_configured(config: Row) -> bool:
    """`agent: 1`, `agent: enabled=1,fstrim_cloned_disks=1` or `agent: 0`."""
    first = str(config.get("agent", "0")).split(",")[0]
    return first.removeprefix("enabled=") == "1"


def addresses(answer: Any) -> tuple[str, ...] | None:
    """Addresses that others can reach, as the QEMU agent or a container tell them; None without an answer."""
    rows = answer.get("result") if isinstance(answer, Mapping) else answer
    if not isinstance(rows, list):
        return None
    found = [a for row in rows if isinstance(row, Mapping) and row.get("name") != "lo" for a in _addresses_of(row)]
    return tuple(dict.fromkeys(a for a in found if not a.startswith(("127.", "fe80:", "::1", "169.254."))))


def _addresses_of(row: Row) -> Iterable[str]:
    for entry in row.get("ip-addresses") or ():
        yield str(entry.get("ip-address", ""))
    for key in ("inet", "inet6"):
        if row.get(key) and "ip-addresses" not in row:
            yield str(row[key]).split("/", maxsplit=1)[0]


def guest_of_task(row: Row) -> int | None:
    """The VMID that a task is about, where its id is one."""
    identity = str(row.get("id") or row.get("worker_id") or "")
    if not identity or "worker_type" in row:
        try:
            upid = Upid.parse(str(row.get("upid", "")))
        except ValueError:
            return None
        if upid.kind == "pbs":
            return upid.guest
        identity = upid.id
    kind = str(row.get("type", ""))
    known = kind.startswith(("qm", "vz", "ha", "move", "resize")) or kind in ("vzdump", "spiceproxy", "vncproxy")
    return int(identity) if known and identity.isdigit() and int(identity) >= 100 else None  # noqa: PLR2004 -- lowest VMID
