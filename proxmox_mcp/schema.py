"""JSON schemas of tools: the short ones that clients get (outline.py), and the long ones that the documents show.

Making them takes as long as a tenth of a cold start, so `tools/list` answers from `tools/schemas.json`, which
`scripts/make_docs.py` writes from the models; a test fails when it says something else than they do.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from proxmox_mcp import outline
from proxmox_mcp.tools.base import Tool

FILE = Path(__file__).parent / "tools" / "schemas.json"
Schemas = dict[str, dict[str, dict[str, Any]]]


@cache
def stored() -> Schemas:
    """By tool: `input` and `output`."""
    schemas: Schemas = json.loads(FILE.read_text(encoding="utf-8"))
    return schemas


def made(tool: Tool) -> dict[str, dict[str, Any]]:
    """The same of one tool, from its models."""
    return {"input": outline.arguments(tool.arguments), "output": outline.answer(tool.answer)}


def arguments_schema(model: type[BaseModel]) -> dict[str, Any]:
    """What a tool takes, with every description."""
    return _lean(model.model_json_schema(mode="validation"))


def answer_schema(model: type[BaseModel]) -> dict[str, Any]:
    """What a tool returns, with every description: every field is always there."""
    return _lean(model.model_json_schema(mode="serialization"))


def _lean(schema: dict[str, Any]) -> dict[str, Any]:
    schema.pop("title", None)
    for definition in schema.get("$defs", {}).values():
        definition.pop("title", None)
        _lean_properties(definition)
    _lean_properties(schema)
    return schema


def _lean_properties(schema: dict[str, Any]) -> None:
    for prop in schema.get("properties", {}).values():
        prop.pop("title", None)
        _join_types(prop)


def _join_types(prop: dict[str, Any]) -> None:
    """`{"type": ["integer", "null"]}` for an `anyOf` of the two: clients check it in half the time."""
    either = prop.get("anyOf", [])
    if either and all(option.keys() == {"type"} for option in either):
        del prop["anyOf"]
        prop["type"] = [option["type"] for option in either]
