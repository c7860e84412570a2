"""What an agent pays for an answer: a site of 120 guests in less than 12 kB of text, details on demand."""

import dataclasses
from pathlib import Path

from proxmox_mcp.lab import Lab
from tests.support.asking import ask, text
from tests.support.lab_client import QUICK, lab_client

LISTS = (
    "get_vms", "get_lxcs", "get_nodes", "get_storage", "get_backup_info", "get_network_info", "get_recent_tasks",
    "get_events", "run_diagnostic", "get_cluster_status", "get_permissions", "list_backups",
)  # fmt: skip


async def test_120_guests_are_a_short_text(tmp_path: Path) -> None:
    async with Lab(dataclasses.replace(QUICK, guests=120)) as lab, lab_client(lab, tmp_path) as client:
        vms, containers = [await ask(client, name, limit=200) for name in ("get_vms", "get_lxcs")]
        assert vms["total"] + containers["total"] >= 120
        sizes = {name: len(text(await client.call_tool(name, {"limit": 200}))) for name in ("get_vms", "get_lxcs")}
        assert sum(sizes.values()) < 12_000, sizes
        sizes = {name: len(text(await client.call_tool(name, {}))) for name in LISTS}
        assert max(sizes.values()) < 12_000, sizes
        print(sizes)  # noqa: T201 -- shown by -s
