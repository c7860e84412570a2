"""What `tools/list` costs an agent, and that the short schemas are true."""

import json
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from mcp import Client

from mqtt_bridge.settings import McpSettings, PermissionSettings, Settings
from proxmox_mcp import outline, schema
from proxmox_mcp.server import INSTRUCTIONS, build_server
from proxmox_mcp.state import State
from proxmox_mcp.tools import ALL
from proxmox_mcp.tools.base import Tool
from tests.support.held import held

LISTING = 25_000  # bytes of `tools/list` with the default sets, at whatever level
ONE = 1250  # bytes of one tool in it: short descriptions of what its name does not say
WIDE = 1800  # of those that say what a guest is: it has many settings, and they are in no default set
GUESTS = frozenset({"create_vm", "create_lxc", "update_guest"})
LEVELS = PermissionSettings(mcp_allow="exec", image_url_allowlist=frozenset({"example.org"}))
DEFAULT = frozenset({"core", "power", "snapshots", "backups", "guest", "notify"})  # as MCP_TOOLSETS will have it
READS = [t.name for t in ALL if t.toolset == "core" and "required" not in outline.arguments(t.arguments)]


def size(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


async def listed(state: State, toolsets: frozenset[str]) -> dict[str, Any]:
    settings = Settings(mcp=McpSettings(toolsets=toolsets), permission=LEVELS)
    async with held(Client(build_server(settings, state))) as client:
        result = await client.list_tools()
    dumped: dict[str, Any] = result.model_dump(mode="json", by_alias=True, exclude_none=True)
    return dumped


async def test_the_default_listing_is_short(state: State) -> None:
    answer = await listed(state, DEFAULT)
    assert size(answer) < LISTING, {tool["name"]: size(tool) for tool in answer["tools"]}


async def test_every_tool_is_short(state: State) -> None:
    answer = await listed(state, frozenset({"all"}))
    assert len(answer["tools"]) == len(ALL)
    limits = {t["name"]: WIDE if t["name"] in GUESTS else ONE for t in answer["tools"]}
    assert {t["name"]: size(t) for t in answer["tools"] if size(t) > limits[t["name"]]} == {}


def test_what_all_tools_share_is_explained_once() -> None:
    for name in (*outline.GLOSSARY, *outline.COMMON):
        assert f"\n{name}: " in INSTRUCTIONS
    assert len(INSTRUCTIONS) < 4000


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_schemas_are_valid_and_plain(tool: Tool) -> None:
    for short in schema.made(tool).values():
        jsonschema.Draft202012Validator.check_schema(short)
        said = json.dumps(short)
        assert not {"$ref", "$defs", "title"} & set(short)
        assert "$ref" not in said
        assert '"type": [' not in said  # some clients have no lists of types
        assert '{"type": "null"}' not in json.dumps(schema.made(tool)["input"])


@pytest.mark.parametrize("tool", ALL, ids=lambda tool: tool.name)
def test_every_argument_is_told(tool: Tool) -> None:
    short, whole = outline.arguments(tool.arguments), schema.arguments_schema(tool.arguments)
    assert set(short["properties"]) == set(whole["properties"])
    assert short.get("required", []) == whole.get("required", [])


@pytest.mark.parametrize("name", READS)
async def test_answers_are_what_the_schema_says(name: str, state: State) -> None:
    settings = Settings(mcp=McpSettings(toolsets=frozenset({"all"})))
    async with held(Client(build_server(settings, state))) as client:
        result = await client.call_tool(name, {})
    if result.structured_content is None:
        assert result.is_error  # it needs Proxmox, which is not there
        return
    jsonschema.validate(result.structured_content, schema.stored()[name]["output"])
    assert set(schema.stored()[name]["output"]["properties"]) <= set(result.structured_content)


def test_a_wrong_answer_would_not_pass() -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"guests": "none"}, schema.stored()["get_vms"]["output"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"guests": [1]}, schema.stored()["get_vms"]["output"])
