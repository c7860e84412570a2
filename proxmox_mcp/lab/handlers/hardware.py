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
        "mounted": int(disk.used == "BIOS boot"),
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
    ("GET", "/nodes/{node}/network", network),
)
