"""Derive what tests/lab holds the lab against from recorded exchanges and published answers.

Usage: make_observed_table.py TRANSCRIPT SAMPLES [OUTPUT]; TRANSCRIPT is a file with one recorded exchange a line,
SAMPLES a folder of JSON answers. Of the bodies only field names and types stay (and the texts of errors and of
tasks' ends); numbers, addresses and names of guests go.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parents[1] / "tests" / "lab" / "observed.json.gz"
TYPES = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
# file → kind of host and the path that it is an answer to; files about the same path as another say nothing new
SAMPLES = {
    "ha_lxc": ("pve", "/nodes/{node}/lxc"),
    "ha_nodes": ("pve", "/nodes"),
    "ha_storage": ("pve", "/nodes/{node}/storage"),
    "pbs4_status_datastore-usage": ("pbs", "/status/datastore-usage"),
    "pbs_gc_status": ("pbs", "/admin/datastore/main/gc"),
    "pbs_snapshots": ("pbs", "/admin/datastore/main/snapshots"),
    "pve7_cluster_backup": ("pve", "/cluster/backup"),
    "pve7_cluster_resources": ("pve", "/cluster/resources"),
    "pve7_lxc_list": ("pve", "/nodes/{node}/lxc"),
    "pve7_lxc_snapshots": ("pve", "/nodes/{node}/lxc/{lxc}/snapshot"),
    "pve7_lxc_status_current": ("pve", "/nodes/{node}/lxc/{lxc}/status/current"),
    "pve7_node_status": ("pve", "/nodes/{node}/status"),
    "pve7_node_storage": ("pve", "/nodes/{node}/storage"),
    "pve7_qemu_status_current": ("pve", "/nodes/{node}/qemu/{qemu}/status/current"),
    "pve7_storage_content": ("pve", "/nodes/{node}/storage/nas/content"),
    "pve7_task_failed_status": ("pve", "/nodes/{node}/tasks/{upid}/status"),
    "pve8_cluster_status_single": ("pve", "/cluster/status"),
    "pve9_apt_update": ("pve", "/nodes/{node}/apt/update"),
    "pve9_cluster_log": ("pve", "/cluster/log"),
    "pve9_cluster_tasks": ("pve", "/cluster/tasks"),
    "pve9_node_status": ("pve", "/nodes/{node}/status"),
    "pve9_notification_matchers": ("pve", "/cluster/notifications/matchers"),
    "pve9_notification_targets": ("pve", "/cluster/notifications/targets"),
    "pve9_storage_content": ("pve", "/nodes/{node}/storage/nas/content"),
    "vega_storage_pvesh": ("pve", "/nodes/{node}/storage"),
    "vega_tasks_pvesh": ("pve", "/nodes/{node}/tasks"),
}


def fields(row: dict[str, Any]) -> dict[str, list[str]]:
    return {key: [TYPES[type(value)]] for key, value in row.items()}


def group(row: dict[str, Any]) -> str:
    """Entries of one list that are of different kinds are told apart by `type`, complete or not."""
    kind = str(row.get("type", ""))
    return f"{kind}:{row.get('status', '')}" if kind in ("node", "qemu", "lxc", "storage") and "id" in row else kind


def shape(data: Any) -> dict[str, Any]:
    """Describe a value: its type; an object's fields; a list's fields by kind of entry, and which are always there."""
    found: dict[str, Any] = {"type": TYPES[type(data)]}
    if isinstance(data, dict):
        found["fields"] = fields(data)
    if isinstance(data, list) and data and all(isinstance(row, dict) for row in data):
        groups: dict[str, dict[str, Any]] = {}
        for row in data:
            one = groups.setdefault(group(row), {"fields": {}, "always": sorted(row)})
            one["always"] = [key for key in one["always"] if key in row]
            for key, types in fields(row).items():
                one["fields"][key] = sorted({*one["fields"].get(key, []), *types})
        found["groups"] = groups
    return found


def exchange(line: str) -> dict[str, Any]:
    raw = json.loads(line)
    body = raw["body"]
    row: dict[str, Any] = {
        key: raw[key] for key in ("as", "method", "path", "params", "status", "reason", "content_type")
    }
    if isinstance(body, dict):
        row["top"] = sorted(body)
        row["data"] = shape(body.get("data"))
        row["errors"] = body.get("errors")
        if isinstance(body.get("data"), str) and body["data"].startswith("UPID:"):
            row["upid"] = body["data"]
        if row["path"].endswith("/status") and "/tasks/UPID" in row["path"] and isinstance(body["data"], dict):
            row["exitstatus"] = body["data"].get("exitstatus")
    return row


def sample(folder: Path, name: str) -> dict[str, Any]:
    body = json.loads((folder / f"{name}.json").read_text())
    kind, path = SAMPLES[name]
    return {"name": name, "kind": kind, "path": path, "data": shape(body["data"] if isinstance(body, dict) else body)}


def main() -> None:
    transcript, samples = Path(sys.argv[1]), Path(sys.argv[2])
    output = Path(sys.argv[3]) if len(sys.argv) > 3 else OUTPUT  # noqa: PLR2004
    table = {
        "exchanges": [exchange(line) for line in transcript.read_text().splitlines()],
        "samples": [sample(samples, name) for name in SAMPLES],
    }
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(gzip.compress(json.dumps(table, separators=(",", ":"), sort_keys=True).encode(), 9, mtime=0))
    print(f"{output.name}: {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
