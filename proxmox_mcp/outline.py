"""A tool's schemas as `tools/list` gives them: as short as they can be and still be true, for every agent pays.

- Arguments: no titles, no null that an optional argument need not say. What `GLOSSARY` explains once for all tools (the
  server's instructions carry it) is a bare type. More is checked than is said: patterns, lengths, unknown names.
- Answers: the keys of the top level with their types, rows as objects; but not what `COMMON` explains once for all.
  Nothing is closed: there may be more in an answer than its schema says, never something else.

`docs/tools.md` has the long form, by `schema.arguments_schema` and `schema.answer_schema`.
"""

from typing import Any

from pydantic import BaseModel

Schema = dict[str, Any]

# arguments that mean the same in every tool, and what they mean
GLOSSARY = {
    "vmid": "number of a guest, enough to find it",
    "node": "a node's name; in lists a filter",
    "site": "a site's name, needed only where several have the same thing; in lists a filter",
    "tag": "only guests with this tag",
    "pool": "only guests of this pool",
    "name": "in lists a glob, e.g. web*",
    "since": "ISO 8601, or so long ago: 24h, 7d",
    "limit": "rows at most (100; 1000 is the most)",
    "cursor": "`next_cursor` of the page before",
    "dry_run": "only say which API calls would be sent, and what the policy says to it",
    "wait": "wait for the task's end (true), `timeout` seconds at most; else return its UPID at once",
    "timeout": "see `wait`; the task goes on after it",
    "approval": "id of an approval, when calling again what answered `approval_required`",
}
# keys that mean the same in every answer that has them
COMMON = {
    "as_of": "when Proxmox was last asked successfully",
    "age_s": "seconds since then",
    "stale": "true: it may look different by now",
    "complete": "false: something is missing, so absence proves nothing",
    "source": "mqtt: the mirror; api: Proxmox was asked",
    "notes": "what to know about this answer",
    "total": "rows that match, on all pages",
    "next_cursor": "null: the last page",
    "site": "where it is",
    "node": "where it is",
    "ok": "whether all of it was seen to be so",
    "message": "what came of it",
    "before": "dry run, approval: what to know before it is done",
    "approval": "id, expiry and how to decide it, of the approval that it waits for",
    "action": "what was done",
    "target": "to what",
    "changed": "null: not known",
    "hint": "what to do about it",
    "exitstatus": "of the task",
    "log_tail": "of the task",
    "state_before": "as read from Proxmox",
    "state_after": "as read from Proxmox after the task; null: not read",
    "calls": "dry run: what would be sent",
    "allowed": "dry run: what the policy says",
    "duration_s": "seconds it took",
    "upid": "of the task that does it",
    "details": "what it brought back",
}
_FALSY = (None, False, "", 0)
_KEPT = frozenset({"type", "enum", "const", "items", "anyOf", "default", "maximum", "description"})


def explained(words: dict[str, str]) -> str:
    """For the server's instructions."""
    return "\n".join(f"{name}: {text}" for name, text in words.items())


# --- arguments -------------------------------------------------------------------------------------------------------


def arguments(model: type[BaseModel]) -> Schema:
    """What a tool takes. More is checked than it says: patterns, lengths, names that are not there."""
    schema = model.model_json_schema(mode="validation")
    definitions = schema.get("$defs", {})
    properties = {
        name: _argument(name, _resolved(prop, definitions)) for name, prop in schema.get("properties", {}).items()
    }
    lean: Schema = {"type": "object", "properties": properties}
    if required := schema.get("required"):
        lean["required"] = required
    return lean


def _argument(name: str, prop: Schema) -> Schema:
    lean = _shortened(prop)
    if name in GLOSSARY:
        return {key: lean[key] for key in ("type", "anyOf") if key in lean}
    if "enum" in lean:
        lean.pop("description", None)
    if lean.get("default") in _FALSY:
        lean.pop("default", None)
    return lean


def _resolved(schema: Any, definitions: Schema) -> Any:
    """With every `$ref` replaced by what it refers to."""
    if isinstance(schema, list):
        return [_resolved(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        own = {key: value for key, value in schema.items() if key != "$ref"}
        return _resolved(definitions[reference.rpartition("/")[2]], definitions) | own
    return {key: _resolved(value, definitions) for key, value in schema.items()}


def _shortened(schema: Schema) -> Schema:
    """One argument: null is what leaving it out means."""
    lean = {key: value for key, value in schema.items() if key in _KEPT}
    if lean.get("type") == "object":
        lean |= _members(schema)
    options = [_shortened(option) for option in lean.pop("anyOf", []) if option != {"type": "null"}]
    if len(options) == 1:
        lean = options[0] | lean
    elif options:
        lean["anyOf"] = options
    if isinstance(lean.get("items"), dict):
        lean["items"] = _shortened(lean["items"])
    return lean


def _members(schema: Schema) -> Schema:
    """Of an object among the arguments: its own arguments."""
    lean: Schema = {}
    if properties := schema.get("properties"):
        lean["properties"] = {name: _argument(name, prop) for name, prop in properties.items()}
    if required := schema.get("required"):
        lean["required"] = required
    return lean


# --- answers ---------------------------------------------------------------------------------------------------------


def answer(model: type[BaseModel]) -> Schema:
    """What a tool returns: the top level alone. Every key is always there."""
    schema = model.model_json_schema(mode="serialization")
    definitions = schema.get("$defs", {})
    told = {
        name: _outline(prop, definitions)
        for name, prop in schema["properties"].items()
        if name not in COMMON and _types(prop, definitions)
    }
    return {"type": "object", "properties": told}


def _outline(prop: Schema, definitions: Schema) -> Schema:
    """The type of one key, and of what an array holds.

    Never a list of types: it is legal, but the dialects of some clients have no such thing.
    """
    types = _types(prop, definitions)
    if types == ["array"] and _types(prop.get("items", {}), definitions) == ["object"]:
        return {"type": "array", "items": {"type": "object"}}
    return {"type": types[0]} if len(types) == 1 else {"anyOf": [{"type": name} for name in types]}


def _types(schema: Schema, definitions: Schema) -> list[str]:
    """The JSON types that a schema admits, in its order; none where it admits any."""
    if reference := schema.get("$ref"):
        return _types(definitions[reference.rpartition("/")[2]], definitions)
    options = schema.get("anyOf") or schema.get("oneOf")
    if options:
        each = [_types(option, definitions) for option in options]
        return list(dict.fromkeys(name for names in each for name in names)) if all(each) else []
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else list(found)
