"""The lab's guests for the tests of provisioning, and orders to whatever they are for."""

import json
from dataclasses import replace
from typing import Any

from mqtt_bridge.actions import ActionResult
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef, NodeRef, Ref, StorageRef
from tests.policy.bench import CT, HA_VM, OPEN, ROOT, STOPPED_CT, STOPPED_VM, TEMPLATE, VM, Bench, client_of, opened

__all__ = [
    "CT", "HA_VM", "HOSTS", "ISO", "KEY", "OPEN", "ROOT", "STOPPED_CT", "STOPPED_VM", "TAR", "TEMPLATE", "VM", "Bench",
    "client_of", "do", "opened", "said", "written",
]  # fmt: skip

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ me@example.org"
ISO = "nas:iso/debian-13.1.0-amd64-netinst.iso"
TAR = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"
HOSTS = replace(OPEN, image_url_allowlist=frozenset({"cloud.debian.org", "*.example.org", "host.example.net:8443"}))


def ref(action: str, what: int | str) -> Ref:
    if isinstance(what, int):
        return GuestRef(what)
    return StorageRef(what) if action.startswith("image.") else NodeRef(what)


async def do(
    bench: Bench,
    action: str,
    what: int | str,
    *,
    permission: PermissionSettings = HOSTS,
    dry_run: bool = False,
    clients: Any = None,
    **args: Any,
) -> ActionResult:
    """One order, with its arguments by name."""
    more = {"clients": clients} if clients else {}
    actions = bench.actions(permission, **more)
    return await actions.perform(ROOT, action, ref(action, what), args=args, dry_run=dry_run, timeout=60)


def said(result: ActionResult) -> dict[str, Any]:
    """The parameters of a dry run's first call."""
    return result.calls[0].params


def written(bench: Bench) -> str:
    """The audit file as text: what must never be in it is looked for there."""
    return json.dumps(bench.records)
