"""Derive the lab's compact API table from the schema dumps of Proxmox VE and Backup Server.

Usage: make_api_table.py FOLDER [OUTPUT]; FOLDER holds pve-schema.json and pbs-schema.json.
Only facts are kept (paths, parameter names, types, limits, privileges), no descriptions.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).resolve().parents[1] / "proxmox_mcp" / "lab" / "api_table.json.gz"
LIMITS = (
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "requires",
    "default_key",
    "alias",
    "keyAlias",
)
FLAGS = ("protected", "proxyto", "allowtoken")


def parameter(schema: dict[str, Any]) -> dict[str, Any]:
    """Keep of one parameter what a host checks."""
    row: dict[str, Any] = {"type": schema.get("type", "string")}
    if schema.get("optional"):
        row["optional"] = 1
    row.update({key: schema[key] for key in LIMITS if key in schema})
    if isinstance(form := schema.get("format"), dict):
        fields = form.get("properties", form)
        row["format"] = {name: parameter(sub) for name, sub in fields.items() if isinstance(sub, dict)}
    elif form:
        row["format"] = form
    if isinstance(items := schema.get("items"), dict):
        row["items"] = parameter(items)
    return row


def answer(schema: dict[str, Any]) -> dict[str, Any]:
    """Keep of an answer's schema the types and which fields are always there; two levels are enough."""
    row: dict[str, Any] = {"type": schema.get("type", "any")}
    inner = schema.get("items") if row["type"] == "array" else schema
    if isinstance(inner, dict) and isinstance(fields := inner.get("properties"), dict):
        row["item" if row["type"] == "array" else "self"] = inner.get("type", "any")
        row["fields"] = {
            name: [sub.get("type", "any"), int(bool(sub.get("optional")))]
            for name, sub in fields.items()
            if isinstance(sub, dict)
        }
    elif isinstance(inner, dict) and row["type"] == "array":
        row["item"] = inner.get("type", "any")
    return row


def method(schema: dict[str, Any]) -> dict[str, Any]:
    """Keep of one method its parameters and who may call it."""
    permissions = schema.get("permissions")
    returns = schema.get("returns")
    row: dict[str, Any] = {"parameters": {name: parameter(sub) for name, sub in schema["parameters"].items()}}
    meta = schema.get("parameters_meta", {})
    if meta.get("additionalProperties", 0) or "allOf" in meta:
        row["open"] = 1
    if permissions:
        row["permissions"] = {key: value for key, value in permissions.items() if key != "description"}
    if isinstance(returns, dict):
        row["returns"] = answer(returns)
    row.update({key: schema[key] for key in FLAGS if key in schema})
    return row


def table(folder: Path) -> dict[str, Any]:
    """Read both dumps."""
    return {
        kind: {
            path: {verb: method(schema) for verb, schema in methods.items()}
            for path, methods in json.loads((folder / f"{kind}-schema.json").read_text()).items()
        }
        for kind in ("pve", "pbs")
    }


def main() -> None:
    folder = Path(sys.argv[1])
    output = Path(sys.argv[2]) if len(sys.argv) > 2 else OUTPUT  # noqa: PLR2004
    text = json.dumps(table(folder), separators=(",", ":"), sort_keys=True)
    output.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
    print(f"{output.name}: {output.stat().st_size} bytes")


if __name__ == "__main__":
    main()
