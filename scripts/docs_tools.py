"""`docs/tools.md`: the MCP tools, resources, prompts and diagnostics as the code has them."""

import json
from collections.abc import Iterator
from typing import Any

from mqtt_bridge.actions import ACTIONS
from mqtt_bridge.diagnostics.diagnostics import CHECKS
from proxmox_mcp import prompts, resources
from proxmox_mcp.schema import answer_schema, arguments_schema, made
from proxmox_mcp.tools import ALL
from proxmox_mcp.tools.base import Tool
from proxmox_mcp.view import Answer

HEAD = """\
# MCP tools

This page is made from the code by `scripts/make_docs.py`.

`proxmox-mcp stdio` and the HTTP server offer the same tools, resources and prompts. Every tool has structured output
and a short text; every read begins with these fields:

{fields}

- A guest is found by its VMID alone (a number or a numeric string); `node` and `site` are only needed where that is
  ambiguous, and the error then lists the candidates.
- Lists filter, page (`limit`, `cursor`) and start with totals over everything that matches. Globs ignore case.
- What goes wrong is an error result with one sentence of what, and what to do.
- `MCP_TOOLSETS` chooses sets or single tools, `MCP_TOOL_PREFIX` is put before every name.
- Tools that `MCP_ALLOW` does not permit are not listed. The control tools are missing from a read-only server although
  their `status` and `config` commands only read: `get_guest` answers both (`config=true` asks Proxmox).
- Reads come from the mirror of what a bridge publishes and cost Proxmox nothing (`source: mqtt`). If no bridge is
  online, Proxmox is polled directly (`source: api`). What no poll brings is asked from Proxmox at the moment of the
  call (`source: api`, `age_s: 0`), of all hosts at once: figures of the past, logs, rules, snapshots, backups, images,
  addresses, rights, `get_task`, `test_connectivity`, `config`, and the control tools. A host that is silent becomes a
  note then (`complete: false`), and an answer that is short for want of a privilege names the commands that grant it.
"""


def tools() -> str:
    """The page."""
    head = HEAD.format(fields="\n".join(_fields(answer_schema(Answer)["properties"])))
    sets = dict.fromkeys(tool.toolset for tool in ALL)
    parts = [head, *(part for name in sets for part in _toolset(name)), *_commands(), *_diagnostics(), *_more()]
    return "\n".join(parts) + "\n"


def schemas() -> str:
    """`proxmox_mcp/tools/schemas.json`: what `tools/list` answers."""
    return json.dumps({tool.name: made(tool) for tool in ALL}, indent=1, ensure_ascii=False) + "\n"


def _toolset(name: str) -> Iterator[str]:
    mine = [tool for tool in ALL if tool.toolset == name]
    yield f"## Set `{name}`\n\n| tool | what it does | needs `MCP_ALLOW` |\n| --- | --- | --- |"
    for tool in mine:
        yield f"| [`{tool.name}`](#{tool.name}) | {tool.title} | {tool.risk} |"
    yield ""
    for tool in mine:
        yield from _tool(tool)


def _tool(tool: Tool) -> Iterator[str]:
    yield f"### {tool.name}\n\n{tool.description}\n"
    schema = arguments_schema(tool.arguments)
    required = schema.get("required", [])
    yield "| argument | type | default | |\n| --- | --- | --- | --- |"
    for name, prop in schema["properties"].items():
        default = "required" if name in required else f"`{_plain(prop.get('default'))}`"
        yield f"| `{name}` | {_type(prop, schema)} | {default} | {prop.get('description', '')} |"
    shared = answer_schema(Answer)["properties"]
    own = {name: prop for name, prop in answer_schema(tool.answer)["properties"].items() if name not in shared}
    yield f"\nReturns {', '.join(f'`{name}`' for name in own)}.\n"


def _fields(properties: dict[str, Any]) -> Iterator[str]:
    yield "| field | |\n| --- | --- |"
    for name, prop in properties.items():
        yield f"| `{name}` | {prop['description']} |"


def _type(prop: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in prop:
        return _type(schema["$defs"][prop["$ref"].rpartition("/")[2]], schema)
    if "enum" in prop:
        return ", ".join(prop["enum"])
    if "anyOf" in prop:
        return " or ".join(_type(p, schema) for p in prop["anyOf"] if p.get("type") != "null")
    if prop.get("type") == "array":
        return f"list of {_type(prop['items'], schema)}"
    names = prop["type"] if isinstance(prop["type"], list) else [prop["type"]]
    return " or ".join(name for name in names if name != "null")


def _plain(value: object) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _commands() -> Iterator[str]:
    yield "## Risk of each command\n"
    yield "`MCP_ALLOW` must be at least the risk. Risks that `APPROVAL_REQUIRED` names wait for a person's approval.\n"
    yield "| action | risk | on a | privileges |\n| --- | --- | --- | --- |"
    for row in ACTIONS.values():
        needs = ", ".join(f"`{need.name}` on `{need.path}`" for need in row.privileges)
        yield f"| `{row.name}` | {row.risk} | {row.target} | {needs} |"


def _diagnostics() -> Iterator[str]:
    yield "\n## Checks of run_diagnostic\n\n| check | question |\n| --- | --- |"
    for check in CHECKS:
        yield f"| `{check.name}` | {check.asks} |"


def _more() -> Iterator[str]:
    yield "\n## Resources\n\nJSON; subscribable in both protocol eras.\n\n| URI | |\n| --- | --- |"
    for template in resources.TEMPLATES:
        yield f"| `{template.uri}` | {template.title} |"
    yield "\n## Prompts\n\n| prompt | arguments | |\n| --- | --- | --- |"
    for prompt in prompts.ALL:
        yield f"| `{prompt.name}` | {', '.join(f'`{a.name}`' for a in prompt.arguments)} | {prompt.text} |"
