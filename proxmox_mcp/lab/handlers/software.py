"""A node's services, packages and subscription."""

from __future__ import annotations

from typing import Any

from proxmox_mcp.lab.call import Call, Route
from proxmox_mcp.lab.catalog import SERVICES
from proxmox_mcp.lab.push import pve_texts
from proxmox_mcp.lab.push.events import to_task


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


def package(name: str, old: str, new: str) -> dict[str, str]:
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
    return [package(*row) for row in call.node.updates]


def refresh_updates(call: Call) -> str:
    """Look for updates; with `notify`, tell of them: the daily timer of a real host asks for that."""

    async def work(task: Any) -> None:
        task.say("starting apt-get update", "Hit:1 http://mirror.example/debian trixie InRelease")
        await task.sleep(1.5)
        task.say("Reading package lists...")
        if call.params.get("notify") and call.node.updates:
            note = pve_texts.updates(call.node.name, call.now, call.node.updates)
            call.world.notifier.notify(note, to_task(task))

    return call.start("aptupdate", "", work)


def versions(call: Call) -> list[dict[str, str]]:
    rows = [("pve-manager", "9.2.11"), ("qemu-server", "9.2.6"), ("corosync", "3.1.9-pve2"), ("smartmontools", "7.4-3")]
    del call
    return [package(name, new, new) | {"CurrentState": "Installed"} for name, new in rows]


ROUTES: tuple[Route, ...] = (
    ("GET", "/nodes/{node}/services", services),
    ("GET", "/nodes/{node}/subscription", subscription),
    ("GET", "/nodes/{node}/apt/update", updates),
    ("POST", "/nodes/{node}/apt/update", refresh_updates),
    ("GET", "/nodes/{node}/apt/versions", versions),
)
