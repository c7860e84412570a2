"""The permission matrix: three tokens (auditor, operator, admin) and every tool, held against a table in this folder.

After a change that is meant: `UPDATE_MATRIX=1 pytest tests/control/test_matrix.py`, and read the difference.
"""

import os
from pathlib import Path

import pytest

from proxmox_mcp.tools import ALL
from tests.control.matrix import COLUMNS, NAMES, Cell, Column, cells

TABLE = Path(__file__).parent / "matrix.txt"
RISKS = {tool.name: tool.risk for tool in ALL}
LEVELS = ("read", "operate", "change", "destroy", "exec")
NEEDS_A_BRIDGE = {"send_notification"}


def rendered(column: Column, found: dict[str, Cell]) -> str:
    rows = [f"{name:<26} {RISKS[name]:<8} {found[name]}" for name in sorted(found)]
    return "\n".join([f"[{column.title}]", *rows, ""])


def expected() -> dict[str, str]:
    blocks = TABLE.read_text(encoding="utf-8").split("\n\n") if TABLE.exists() else []
    return {block.splitlines()[0][1:-1]: block.rstrip("\n") + "\n" for block in blocks if block.strip()}


def keep(column: Column, block: str) -> None:
    kept = expected() | {column.title: block}
    TABLE.write_text("\n".join(kept[one.title] for one in COLUMNS if one.title in kept), encoding="utf-8")


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: column.title)
async def test_the_matrix(column: Column, tmp_path: Path) -> None:
    found, writes = await cells(column, tmp_path)
    permitted(column, found)
    if column.mcp == "auditor":
        assert writes == [], "who may only read made Proxmox do something"
    block = rendered(column, found)
    if os.environ.get("UPDATE_MATRIX"):
        keep(column, block)
    assert block == expected().get(column.title), f"not as in {TABLE.name}"


def permitted(column: Column, found: dict[str, Cell]) -> None:
    """What holds whatever the table says."""
    level = LEVELS.index(NAMES[column.mcp])
    for name, cell in found.items():
        fits = LEVELS.index(RISKS[name]) <= level
        assert cell.listed is fits, name
        assert cell.came.startswith("policy") is not fits, name
        if not fits:
            assert "MCP_TOKENS_FILE" in cell.said
        if column.proxmox == "admin" and not column.approvals:
            assert cell.came == "ok" or name in NEEDS_A_BRIDGE, (name, cell.said)
        if column.proxmox == "admin" and column.approvals and RISKS[name] in {"destroy", "exec"}:
            assert cell.came == "approval", name


def test_the_table_has_every_tool_and_token() -> None:
    table = expected()
    assert list(table) == [column.title for column in COLUMNS]
    for block in table.values():
        assert {line.split()[0] for line in block.splitlines()[1:]} == set(RISKS)
