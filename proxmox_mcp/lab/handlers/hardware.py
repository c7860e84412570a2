"""A node's disks, network and certificates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.errors import ApiError

if TYPE_CHECKING:
    from proxmox_mcp.lab.state import Disk


def certificates(call: Call) -> list[dict[str, Any]]:
    node = call.node
    made = int(node.booted_at) - 86_400
    days = node.certificate_days
    ends = made + 730 * 86_400 if days is None else int(call.world.now() + days * 86_400)
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
            "fingerprint": node.fingerprint, "notafter": ends, "public-key-bits": 2048,
        },
    ]  # fmt: skip


def disk_list(call: Call) -> list[dict[str, Any]]:
    """Without `skipsmart`, smartctl is run on every disk: what sleeps wakes up."""
    smart = not call.params.get("skipsmart")
    for disk in call.node.disks if smart else ():
        disk.asked += 1
    return [_disk(disk, smart=smart) for disk in call.node.disks]


def _disk(disk: Disk, *, smart: bool) -> dict[str, Any]:
    return {
        "devpath": disk.devpath,
        "by_id_link": f"/dev/disk/by-id/{disk.model.replace(' ', '_')}_{disk.serial}",
        "gpt": 1,
        "health": disk.health if smart else "UNKNOWN",
        "model": disk.model,
        "mounted": int(disk.used == "BIOS boot"),
        "osdid": -1,
        "osdid-list": None,
        "rpm": 5400 if disk.kind == "hdd" else 0,
        "serial": disk.serial,
        "size": disk.size,
        "type": disk.kind,
        "used": disk.used,
        "vendor": "ATA",
        "wearout": disk.wearout if disk.wearout >= 0 and smart else "N/A",
        "wwn": "unknown",
    }


def smart(call: Call) -> dict[str, Any]:
    found = [disk for disk in call.node.disks if disk.devpath == call.params["disk"]]
    if not found:
        raise ApiError(500, f"unable to get disk info for '{call.params['disk']}'")
    disk = found[0]
    disk.asked += 1
    if call.params.get("healthonly"):
        return {"health": disk.health}
    if disk.kind == "nvme":
        return {"health": disk.health, "type": "text", "text": _nvme(disk), "wearout": disk.wearout}
    return {"health": disk.health, "type": "ata", "attributes": _attributes(disk)}


def _nvme(disk: Disk) -> str:
    lines = (
        ("Critical Warning", "0x00" if disk.health == "PASSED" else "0x04"),
        ("Temperature", f"{disk.temperature} Celsius"),
        ("Available Spare", "100%"),
        ("Available Spare Threshold", "10%"),
        ("Percentage Used", f"{100 - disk.wearout}%"),
        ("Data Units Written", "55,924,781 [28.6 TB]"),
        ("Power Cycles", "98"),
        ("Power On Hours", f"{disk.power_on_hours:,}"),
        ("Unsafe Shutdowns", "21"),
        ("Media and Data Integrity Errors", "0"),
        ("Temperature Sensor 1", f"{disk.temperature} Celsius"),
        ("Temperature Sensor 2", f"{disk.temperature + 9} Celsius"),
    )
    told = "".join(f"{name + ':':<36}{value}\n" for name, value in lines)
    return f"\nSMART/Health Information (NVMe Log 0x02, NSID 0xffffffff)\n{told}"


def _attributes(disk: Disk) -> list[dict[str, Any]]:
    failing = disk.health != "PASSED"
    warm = f"{disk.temperature} (Min/Max 20/{disk.temperature + 12})"
    rows = [
        ("5", "Reallocated_Sector_Ct", "PO--CK", 10 if failing else 100, 140, "1987" if failing else "0"),
        ("9", "Power_On_Hours", "-O--CK", 80, 0, str(disk.power_on_hours)),
        ("194", "Temperature_Celsius", "-O---K", 100 - disk.temperature, 0, warm),
        ("197", "Current_Pending_Sector", "-O--CK", 200, 0, "16" if failing else "0"),
    ]
    if disk.kind == "ssd":
        rows.insert(3, ("202", "Percent_Lifetime_Remain", "----CK", disk.wearout, 1, str(100 - disk.wearout)))
    return [
        {
            "id": f"{ident:>3}", "name": name, "flags": flags, "value": value, "normalized": float(value),
            "worst": value, "threshold": threshold, "raw": raw, "fail": "-",
        }
        for ident, name, flags, value, threshold, raw in rows
    ]  # fmt: skip


def zpools(call: Call) -> list[dict[str, Any]]:
    return [
        {
            "name": pool.name, "size": pool.size, "alloc": pool.alloc, "free": pool.size - pool.alloc,
            "frag": pool.frag, "dedup": 1.0, "health": pool.health,
        }
        for pool in call.node.zpools
    ]  # fmt: skip


def zpool(call: Call) -> dict[str, Any]:
    pool = next((one for one in call.node.zpools if one.name == call.params["name"]), None)
    if pool is None:
        raise ApiError(500, f"cannot open '{call.params['name']}': no such pool")
    bad = pool.health != "ONLINE"
    device = {
        "name": f"{pool.device}1",
        "state": "FAULTED" if bad else "ONLINE",
        "msg": "too many errors" if bad else "",
    }
    counts = {"read": 12 if bad else 0, "write": 0, "cksum": 0}
    top = {"name": pool.name, "state": pool.health, "msg": "", "leaf": 0, "children": [device | counts | {"leaf": 1}]}
    trouble = {
        "status": "One or more devices are faulted in response to persistent errors.",
        "action": "Replace the faulted device, or use 'zpool clear' to mark the device repaired.",
    }
    return {
        "name": pool.name, "state": pool.health, "errors": "No known data errors", "leaf": 0, "children": [top],
        "scan": "scrub repaired 0B in 03:11:42 with 0 errors on Sun Nov  8 03:35:43 2026", **(trouble if bad else {}),
    }  # fmt: skip


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


ROUTES: tuple[Route, ...] = (
    ("GET", "/nodes/{node}/certificates/info", certificates),
    ("GET", "/nodes/{node}/disks/list", disk_list),
    ("GET", "/nodes/{node}/disks/smart", smart),
    ("GET", "/nodes/{node}/disks/zfs", zpools),
    ("GET", "/nodes/{node}/disks/zfs/{name}", zpool),
    ("GET", "/nodes/{node}/network", network),
)
