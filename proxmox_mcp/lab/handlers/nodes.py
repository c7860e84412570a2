"""`/nodes/{node}`: status, updates, disks, services, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import figures, resources, rrd
from proxmox_mcp.lab.call import Call, Empty, Page, Route
from proxmox_mcp.lab.vzlog import stamp

from .cluster import VERSION
from .tasks import numbered

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import LogEntry, Node

KERNEL = "6.17.2-1-pve"
CURSOR = "s=0123456789abcdef0123456789abcdef;i=1f4;b=89abcdef0123456789abcdef01234567;m=1;t=1;x=1"


GIB = 1024**3


def status(call: Call) -> dict[str, Any]:
    node = call.node
    now = call.world.now()
    numbers = figures.node(node, now)
    load = numbers["cpu"] * node.cores
    return {
        "boot-info": {"mode": "efi", "secureboot": 0},
        "cpu": numbers["cpu"],
        "cpuinfo": _cpuinfo(node),
        "current-kernel": {
            "machine": "x86_64",
            "release": KERNEL,
            "sysname": "Linux",
            "version": "#1 SMP PREEMPT_DYNAMIC PMX 6.17.2-1 (2026-10-21T11:55Z)",
        },
        "idle": 0,
        "ksm": {"shared": 0},
        "kversion": f"Linux {KERNEL} #1 SMP PREEMPT_DYNAMIC PMX 6.17.2-1 (2026-10-21T11:55Z)",
        "loadavg": [f"{load:.2f}", f"{load * 0.95:.2f}", f"{load * 0.9:.2f}"],
        "memory": _memory(int(numbers["mem"]), node.memory),
        "pveversion": f"pve-manager/{VERSION['version']}/{VERSION['repoid']}",
        "rootfs": _filesystem(int(numbers["disk"]), node.disk),
        "swap": {"total": 8 * GIB, "used": 0, "free": 8 * GIB},
        "uptime": numbers["uptime"],
        "wait": round(numbers["cpu"] * 0.05, 5),
    }


def _cpuinfo(node: Node) -> dict[str, Any]:
    return {
        "cores": node.cores // 2 or 1,
        "cpus": node.cores,
        "family": "25",
        "flags": "fpu vme de pse tsc msr pae mce cx8 apic sep svm hypervisor",
        "hvm": "1",
        "mhz": "3000.000",
        "model": node.cpu_model,
        "sockets": 1,
        "user_hz": 100,
        "vendor": "GenuineIntel" if "Intel" in node.cpu_model else "AuthenticAMD",
    }


def _memory(used: int, total: int) -> dict[str, int]:
    return {"total": total, "used": used, "free": int((total - used) * 0.9), "available": total - used}


def _filesystem(used: int, total: int) -> dict[str, int]:
    return {"total": total, "used": used, "free": total - used, "avail": total - used}


def version(_call: Call) -> dict[str, str]:
    return VERSION


def time(call: Call) -> dict[str, Any]:
    now = int(call.world.now())
    return {"time": now, "localtime": now, "timezone": "UTC"}


def rrddata(call: Call) -> list[dict[str, Any]]:
    return rrd.node_rows(call.node, call.world.now(), call.params["timeframe"])


def syslog(call: Call) -> Page:
    """The node's part of the journal."""
    if call.world.options.scenario == "recorded":
        return numbered(["-- No entries --"], 0, 0)
    return numbered(_lines(call, 0, float("inf")), call.params.get("start", 0), call.params.get("limit", 50))


def _lines(call: Call, since: float, until: float) -> list[str]:
    return [
        f"{stamp(entry.time, '%b %d %H:%M:%S')} {entry.node} {entry.tag}{_pid(entry)}: {_user(entry)}{entry.msg}"
        for entry in call.world.journal
        if entry.node == call.node.name and since <= entry.time <= until
    ]


def _pid(entry: LogEntry) -> str:
    return f"[{entry.pid}]" if entry.pid else ""


def _user(entry: LogEntry) -> str:
    return f"<{entry.user}> " if entry.user else ""


def journal(call: Call) -> Any:
    """Lines between two cursors. Empty bodies are what the recorded cluster gave: its hosts had no journal."""
    if call.world.options.scenario == "recorded":
        return Empty()
    lines = _lines(call, call.params.get("since", 0), call.params.get("until", float("inf")))
    last = call.params.get("lastentries", len(lines))
    return [CURSOR, *lines[len(lines) - min(last, len(lines)) :], CURSOR]


def vzdump_defaults(call: Call) -> dict[str, Any]:
    if "storage" in call.params:
        call.world.storage_parameter(call.params["storage"])
    name = call.params.get("storage", "local")
    if not resources.may_see_storage(call.world, call.who, name):
        call.need(f"/storage/{name}", "Datastore.Audit", "Datastore.AllocateSpace", anyone=True)
    return {
        "all": 0, "bwlimit": 0, "compress": "0", "dumpdir": "/var/lib/vz/dump", "fleecing": {"enabled": 0}, "ionice": 7,
        "lockwait": 180, "mailnotification": "always", "mode": "snapshot", "notification-mode": "auto",
        "performance": {"max-workers": 16, "pbs-entries-max": 1_048_576}, "pigz": 0, "prune-backups": "keep-all=1",
        "quiet": 0, "remove": 1, "stdexcludes": 1, "stop": 0, "stopwait": 10, "storage": name, "zstd": 1,
    }  # fmt: skip


def scan_nfs(_call: Call) -> list[Any]:
    return []


ROUTES: tuple[Route, ...] = (
    ("GET", "/nodes/{node}/status", status),
    ("GET", "/nodes/{node}/version", version),
    ("GET", "/nodes/{node}/time", time),
    ("GET", "/nodes/{node}/rrddata", rrddata),
    ("GET", "/nodes/{node}/syslog", syslog),
    ("GET", "/nodes/{node}/journal", journal),
    ("GET", "/nodes/{node}/vzdump/defaults", vzdump_defaults),
    ("GET", "/nodes/{node}/scan/nfs", scan_nfs),
)
