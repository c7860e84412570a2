"""Figures of the past, as Proxmox's round robin databases keep them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from mqtt_bridge.errors import UnknownTargetError
from mqtt_bridge.model import utc
from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Arguments, Call, NodeArgument, SiteArgument, Tool, Vmid
from proxmox_mcp.view import Answer

if TYPE_CHECKING:
    from mqtt_bridge.proxmox.client import ProxmoxClient

POINTS = 60
Row = dict[str, Any]

# metric → unit and factor. What is not listed is a pressure (percent) or a figure without a unit.
BYTES, RATE, SHARE, COUNT = ("bytes", 1.0), ("bytes/s", 1.0), ("%", 100.0), ("", 1.0)
UNITS = {
    "cpu": SHARE, "iowait": SHARE, "maxcpu": ("cores", 1.0), "loadavg": COUNT,
    **dict.fromkeys(("netin", "netout", "diskread", "diskwrite", "read_bytes", "write_bytes"), RATE),
    **dict.fromkeys(
        ("mem", "maxmem", "memhost", "disk", "maxdisk", "memused", "memtotal", "memavailable", "arcsize", "swapused",
         "swaptotal", "rootused", "roottotal", "used", "total"),
        BYTES,
    ),
}  # fmt: skip
PRESSURE = ("%", 1.0)
USUAL = {
    "guest": ("cpu", "mem", "maxmem", "netin", "netout", "diskread", "diskwrite"),
    "node": ("cpu", "iowait", "loadavg", "memused", "memtotal", "rootused", "used", "total", "netin", "netout"),
    "storage": ("used", "total"),
}


class HistoryRequest(Arguments):
    """Of what, how far back, how fine. One of `vmid`, `storage` and `node`; a storage may need its node."""

    vmid: Vmid | None = None
    node: NodeArgument = None
    storage: str | None = Field(default=None, description="storage or datastore")
    site: SiteArgument = None
    timeframe: Literal["hour", "day", "week", "month", "year"] = "day"
    cf: Literal["AVERAGE", "MAX"] = Field(default="AVERAGE", description="of each point")
    metrics: tuple[str, ...] | None = Field(default=None, description="e.g. cpu, mem; default: the usual ones")
    points: int = Field(default=POINTS, ge=1, le=500, description="per metric at most; 1: only min, avg, max")


class Series(asking.Part):
    """One metric. `values` is empty if it never changed; null: no figure, e.g. the guest was off."""

    name: str
    unit: str
    min: float | None
    avg: float | None
    max: float | None
    last: float | None
    values: tuple[float | None, ...] = ()


class MetricsHistory(Answer):
    """Figures of one thing: point i is at `start` + i * `step_s`."""

    target: str
    site: str
    timeframe: str
    cf: str
    start: str | None = None
    end: str | None = None
    step_s: int | None = None
    metrics: tuple[Series, ...] = ()
    others: tuple[str, ...] = Field(default=(), description="metrics that there are too")

    def text(self) -> str:
        head = f"{self.target}, last {self.timeframe} ({self.cf}), {self.start} to {self.end}"
        rows = ((m.name, m.unit, _short(m, m.min), _short(m, m.avg), _short(m, m.max), _short(m, m.last))
                for m in self.metrics)  # fmt: skip
        return words.answer(head, words.table(("metric", "unit", "min", "avg", "max", "last"), rows), self)


def _short(series: Series, value: float | None) -> object:
    return words.size(value) if series.unit.startswith("bytes") else value


async def get_metrics_history(call: Call, args: HistoryRequest) -> MetricsHistory:
    """The figures of a guest, storage or node, thinned out to so many points."""
    kind, target, site, rows = await _rows(call, args)
    known = list(dict.fromkeys(name for row in rows for name in row if name != "time"))
    wanted = args.metrics or [name for name in USUAL[kind] if name in known]
    if missing := [name for name in wanted if name not in known and known]:
        cure = f"There are: {', '.join(sorted(known))}."
        raise UnknownTargetError(f"{target} has no metric {missing[0]!r}.", cure=cure)
    rows = sorted(rows, key=lambda row: int(row["time"]))
    each = -(-len(rows) // args.points)
    step = int(rows[1]["time"]) - int(rows[0]["time"]) if len(rows) > 1 else None
    notes = () if known else ("Proxmox has no figures of that time: it was off, or is new.",)
    return MetricsHistory(
        **asking.now(call, *notes),
        target=target,
        site=site,
        timeframe=args.timeframe,
        cf=args.cf,
        start=utc(rows[0]["time"]) if rows else None,
        end=utc(rows[-1]["time"]) if rows else None,
        step_s=step and step * each,
        metrics=tuple(_series(name, rows, each, args) for name in wanted if name in known),
        others=tuple(sorted(set(known) - set(wanted))),
    )


async def _rows(call: Call, args: HistoryRequest) -> tuple[str, str, str, list[Row]]:
    params: dict[str, Any] = {"timeframe": args.timeframe, "cf": args.cf}
    if args.vmid is not None:
        place = await asking.guest(call, args.vmid, args.node, args.site)
        place, rows = await asking.of_guest(call, place, "rrddata", **params)
        return "guest", place.label, place.site, rows
    if args.storage is not None:
        if server := await _datastore_at(call, args.storage, args):
            rows = await call.client(server).get("admin", "datastore", args.storage, "rrd", **params)
            return "storage", f"datastore {args.storage}", server, rows
        site, node = await _storage_at(call, args.storage, args)
        rows = await call.client(site).get("nodes", node, "storage", args.storage, "rrddata", **params)
        return "storage", f"storage {args.storage} on {node}", site, rows
    if args.node is None:
        raise asking.AskedWrongError("Of what is not said.", cure="Give `vmid`, `node` or `storage`.")
    site, name = await asking.machine(call, args.node, args.site)
    client = call.client(site)
    rows = await client.get("nodes", name, "rrddata" if client.site.kind == "pve" else "rrd", **params)
    return "node", f"node {args.node}", site, rows


async def _storage_at(call: Call, name: str, args: HistoryRequest) -> tuple[str, str]:
    """Site and node to ask about a storage: the node given, or any that it is available on."""
    heard = await asking.together({s: _storages(c) for s, c in asking.hosts(call, args.site).items()})
    heard.require()
    found = [
        (site, row)
        for site, rows in heard.answers.items()
        for row in rows
        if row.get("storage") == name and args.node in {None, row.get("node")}
    ]
    known = tuple(sorted({str(row.get("storage")) for rows in heard.answers.values() for row in rows}))
    if not found:
        where = f" on node {args.node}" if args.node else ""
        unknown = UnknownTargetError(
            f"There is no storage {name!r}{where}.", cure=f"Storages: {', '.join(known)}.", candidates=known
        )
        raise await asking.seen_nothing(call, args.site, unknown, ("/storage", "Datastore.Audit"))
    nodes = [f"{row['node']} ({site})" for site, row in found]
    if len(found) > 1 and (len({site for site, _ in found}) > 1 or not found[0][1].get("shared")):
        raise UnknownTargetError(f"Each of {', '.join(nodes)} has a storage {name!r} of its own.", cure="Give `node`.")
    site, row = next((f for f in found if f[1].get("status") == "available"), found[0])
    return site, str(row["node"])


async def _datastore_at(call: Call, name: str, args: HistoryRequest) -> str | None:
    """The Backup Server that has a datastore of the name, as the mirror knows; storages of the same name come first."""
    if args.node is not None:
        return None
    view = await call.view()
    if any(s.storage == name for s in view.storages(args.site)):
        return None
    return next((d.site for d in view.datastores(args.site) if d.store == name), None)


async def _storages(client: "ProxmoxClient") -> list[Row]:
    rows: list[Row] = await client.get("cluster", "resources", type="storage", deadline=asking.DEADLINE)
    return rows


def _series(name: str, rows: list[Row], each: int, args: HistoryRequest) -> Series:
    unit, factor = UNITS.get(name, PRESSURE if name.startswith("pressure") else COUNT)
    raw = [None if row.get(name) is None else float(row[name]) * factor for row in rows]
    known = [value for value in raw if value is not None]
    still = len(set(known)) <= 1 and len(known) == len(raw)
    parts = [] if still or args.points == 1 else [raw[at : at + each] for at in range(0, len(raw), each)]
    return Series(
        name=name,
        unit=unit,
        min=_round(min(known, default=None)),
        avg=_round(sum(known) / len(known)) if known else None,
        max=_round(max(known, default=None)),
        last=_round(raw[-1]) if raw else None,
        values=tuple(_round(_joined(part, args.cf)) for part in parts),
    )


def _joined(part: Sequence[float | None], cf: str) -> float | None:
    known = [value for value in part if value is not None]
    if not known:
        return None
    return max(known) if cf == "MAX" else sum(known) / len(known)


def _round(value: float | None) -> float | None:
    """Four significant digits, whole numbers from 1000 on."""
    if value is None:
        return None
    return float(f"{value:.4g}") if abs(value) < 1000 else float(round(value))  # noqa: PLR2004


TOOLS = (
    Tool(
        "get_metrics_history",
        "Figures of the past",
        "CPU, memory, network and disk figures of a guest, node or storage over the last hour to year: min, avg, max, "
        "and at most 60 points each.",
        "history",
        HistoryRequest,
        MetricsHistory,
        get_metrics_history,
    ),
)
