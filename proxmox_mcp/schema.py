"""JSON schemas of tools: pydantic's, without the titles that say a name again, made once and only when asked for."""

from functools import cache
from typing import Any

from pydantic import BaseModel


@cache
def arguments_schema(model: type[BaseModel]) -> dict[str, Any]:
    """What a tool takes."""
    return _lean(model.model_json_schema(mode="validation"))


@cache
def answer_schema(model: type[BaseModel]) -> dict[str, Any]:
    """What a tool returns: every field is always there."""
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
