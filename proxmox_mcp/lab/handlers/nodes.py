"""`/nodes/{node}`: status, updates, disks, services, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab import figures, resources, rrd
from proxmox_mcp.lab.call import Call, Empty, Page, Route
from proxmox_mcp.lab.catalog import SERVICES
from proxmox_mcp.lab.errors import ApiError
from proxmox_mcp.lab.vzlog import stamp

from .cluster import VERSION
from .tasks import numbered

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import Disk, Node

KERNEL = "6.17.2-1-pve"
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


def services(call: Call) -> list[dict[str, Any]]:
    """None where the recorded cluster had none: it ran without systemd."""
    if call.world.options.scenario == "recorded":
        return []
    return [
        {
            "name": name,
            "service": name,
            "desc": text,
            "state": "running",
            "active-state": "active",
            "unit-state": "enabled",
        }
        for name, text in SERVICES
    ]


def subscription(call: Call) -> dict[str, Any]:
    row: dict[str, Any] = {
        "status": call.node.subscription,
        "message": "There is no subscription key",
        "url": "https://www.proxmox.com/en/proxmox-virtual-environment/pricing",
    }
    return row | ({"serverid": None} if call.may(f"/nodes/{call.node.name}", "Sys.Audit") else {})


def _package(name: str, old: str, new: str) -> dict[str, str]:
    return {
        "Package": name,
        "Title": f"{name} package",
        "Description": f"{name} package",
        "Version": new,
        "OldVersion": old,
        "Origin": "Proxmox",
        "Arch": "amd64",
        "Section": "admin",
        "Priority": "optional",
    }


def updates(call: Call) -> list[dict[str, str]]:
    return [_package(*row) for row in call.node.updates]


def refresh_updates(call: Call) -> str:
    async def work(task: Any) -> None:
        task.say("starting apt-get update", "Hit:1 http://deb.debian.org/debian trixie InRelease")
        await task.sleep(1.5)
        task.say("Reading package lists...")

    return call.start("aptupdate", "", work)


def versions(call: Call) -> list[dict[str, str]]:
    rows = [("pve-manager", "9.2.11"), ("qemu-server", "9.2.6"), ("corosync", "3.1.9-pve2"), ("smartmontools", "7.4-3")]
    del call
    return [_package(name, new, new) | {"CurrentState": "Installed"} for name, new in rows]


def certificates(call: Call) -> list[dict[str, Any]]:
    node = call.node
    made = int(node.booted_at) - 86_400
    authority = "/CN=Proxmox Virtual Environment/OU=73ed1463-fe1c-4792-a155-cf986894924e/O=PVE Cluster Manager CA"
    common = {
        "issuer": authority,
        "notbefore": made,
        "pem": "-----BEGIN CERTIFICATE-----\n",
        "public-key-type": "rsaEncryption",
    }
    own = f"/OU=PVE Cluster Node/O=Proxmox Virtual Environment/CN={node.name}"
    return [
        common
        | {
            "filename": "pve-root-ca.pem", "subject": authority, "san": [], "fingerprint": node.fingerprint,
            "notafter": made + 3650 * 86_400, "public-key-bits": 4096,
        },
        common
        | {
            "filename": "pve-ssl.pem", "subject": own, "san": ["127.0.0.1", "localhost", node.name],
            "fingerprint": node.fingerprint, "notafter": made + 730 * 86_400, "public-key-bits": 2048,
        },
    ]  # fmt: skip


def disk_list(call: Call) -> list[dict[str, Any]]:
    """A token that may only audit got an empty list from the recorded cluster."""
    if not call.may("/", "Sys.Modify"):
        return []
    return [_disk(disk) for disk in call.node.disks]


def _disk(disk: Disk) -> dict[str, Any]:
    return {
        "devpath": disk.devpath,
        "by_id_link": f"/dev/disk/by-id/{disk.model.replace(' ', '_')}_{disk.serial}",
        "gpt": 1,
        "health": disk.health,
        "model": disk.model,
        "osdid": -1,
        "osdid-list": None,
        "rpm": 5400 if disk.kind == "hdd" else 0,
        "serial": disk.serial,
        "size": disk.size,
        "type": disk.kind,
        "used": disk.used,
        "vendor": "ATA",
        "wearout": disk.wearout if disk.wearout >= 0 else "N/A",
        "wwn": "unknown",
    }


def smart(call: Call) -> dict[str, Any]:
    found = [disk for disk in call.node.disks if disk.devpath == call.params["disk"]]
    if not found:
        raise ApiError(500, f"unable to get disk info for '{call.params['disk']}'")
    disk = found[0]
    if call.params.get("healthonly"):
        return {"health": disk.health}
    if disk.kind == "nvme":
        text = (
            f"Temperature: {disk.temperature} Celsius\nPercentage Used: {100 - disk.wearout}%\n"
            f"Power On Hours: {disk.power_on_hours}\n"
        )
        return {"health": disk.health, "type": "text", "text": text}
    return {"health": disk.health, "type": "ata", "attributes": _attributes(disk)}


def _attributes(disk: Disk) -> list[dict[str, Any]]:
    failing = disk.health != "PASSED"
    rows = (
        ("5", "Reallocated_Sector_Ct", "PO--CK", 10 if failing else 100, 140, "1987" if failing else "0"),
        ("9", "Power_On_Hours", "-O--CK", 80, 0, str(disk.power_on_hours)),
        ("194", "Temperature_Celsius", "-O---K", 70, 0, str(disk.temperature)),
        ("197", "Current_Pending_Sector", "-O--CK", 200, 0, "16" if failing else "0"),
    )
    return [
        {
            "id": f"{ident:>3}", "name": name, "flags": flags, "value": value, "normalized": float(value),
            "worst": value, "threshold": threshold, "raw": raw, "fail": "-",
        }
        for ident, name, flags, value, threshold, raw in rows
    ]  # fmt: skip


def syslog(call: Call) -> Page:
    """The node's part of the cluster log, written like a journal."""
    if call.world.options.scenario == "recorded":
        return numbered(["-- No entries --"], 0, 0)
    lines = [
        f"{stamp(entry.time, '%b %d %H:%M:%S')} {entry.node} {entry.tag}[{entry.pid}]: <{entry.user}> {entry.msg}"
        for entry in reversed(call.world.log)
        if entry.node == call.node.name
    ]
    return numbered(lines, call.params.get("start", 0), call.params.get("limit", 50))


def journal(call: Call) -> Any:
    """Empty bodies are what the recorded cluster gave: its hosts had no journal."""
    if call.world.options.scenario == "recorded":
        return Empty()
    page = syslog(call)
    return [row["t"] for row in page.data][-call.params.get("lastentries", 50) :]


def firewall_log(_call: Call) -> Page:
    return numbered(["unable to open file - No such file or directory"], 0, 50)


def nothing(_call: Call) -> list[Any]:
    return []


def network(call: Call) -> list[dict[str, Any]]:
    node = call.node
    card = {
        "iface": "enp1s0",
        "type": "eth",
        "active": 1,
        "exists": 1,
        "method": "manual",
        "method6": "manual",
        "priority": 3,
    }
    bridge = {
        "iface": "vmbr0", "type": "bridge", "active": 1, "autostart": 1, "method": "static", "method6": "manual",
        "address": node.ip, "netmask": "24", "cidr": f"{node.ip}/24", "gateway": "192.0.2.1", "bridge_ports": "enp1s0",
        "bridge_stp": "off", "bridge_fd": "0", "families": ["inet"], "priority": 4,
    }  # fmt: skip
    wanted = call.params.get("type")
    rows = [card | {"families": ["inet"]}, bridge]
    return [row for row in rows if wanted in (None, row["type"], "any_bridge" if row["type"] == "bridge" else None)]


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
    ("GET", "/nodes/{node}/services", services),
    ("GET", "/nodes/{node}/subscription", subscription),
    ("GET", "/nodes/{node}/apt/update", updates),
    ("POST", "/nodes/{node}/apt/update", refresh_updates),
    ("GET", "/nodes/{node}/apt/versions", versions),
    ("GET", "/nodes/{node}/certificates/info", certificates),
    ("GET", "/nodes/{node}/disks/list", disk_list),
    ("GET", "/nodes/{node}/disks/smart", smart),
    ("GET", "/nodes/{node}/syslog", syslog),
    ("GET", "/nodes/{node}/journal", journal),
    ("GET", "/nodes/{node}/firewall/rules", nothing),
    ("GET", "/nodes/{node}/firewall/log", firewall_log),
    ("GET", "/nodes/{node}/network", network),
    ("GET", "/nodes/{node}/vzdump/defaults", vzdump_defaults),
    ("GET", "/nodes/{node}/scan/nfs", scan_nfs),
)
