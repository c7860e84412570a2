"""Parameter checks with the error texts of Proxmox's JSON schema validator (PVE::JSONSchema)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from .apitable import parameter

if TYPE_CHECKING:
    from collections.abc import Callable

    from .apitable import Method

MISSING = "property is missing and it is not optional"
UNKNOWN = "property is not defined in schema and the schema does not allow additional properties"
_TRUE = {"1", "on", "yes", "true"}
_FALSE = {"0", "off", "no", "false"}
_DNS = r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)(?:\.[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?)*"

# format → (what must match, what the host says otherwise; {} is the value)
FORMATS: dict[str, tuple[re.Pattern[str], str]] = {
    "pve-vmid": (re.compile(r"[1-9][0-9]{2,8}"), "value does not look like a valid VM ID"),
    "pve-configid": (re.compile(r"[A-Za-z][A-Za-z0-9_-]+"), "invalid configuration ID '{}'"),
    "pve-node": (
        re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-]*[a-zA-Z0-9])?"),
        "value does not look like a valid node name",
    ),
    "pve-storage-id": (
        re.compile(r"[A-Za-z][A-Za-z0-9\-_.]*[A-Za-z0-9]"),
        "storage ID '{}' contains illegal characters",
    ),
    "dns-name": (re.compile(_DNS), "value does not look like a valid DNS name"),
    "pve-poolid": (re.compile(r"[A-Za-z0-9._\-/]+"), "value '{}' does not look like a valid pool name"),
    "pve-userid": (re.compile(r"[^\s:/]+@[A-Za-z][A-Za-z0-9._\-]+"), "value '{}' does not look like a valid user name"),
    "mac-addr": (
        re.compile(r"[a-fA-F0-9][02468aceACE][:](?:[a-fA-F0-9]{2}:){4}[a-fA-F0-9]{2}"),
        "value does not look like a valid unicast MAC address",
    ),
    "pve-volume-id": (re.compile(r"[A-Za-z][A-Za-z0-9\-_.]*:\S+|none|cdrom"), "unable to parse volume ID '{}'"),
    "pve-tag": (re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9_\-+.]*"), "invalid characters in tag"),
}


class Bad(Exception):  # noqa: N818 - carries the host's text for one parameter, nothing else
    """A value that the schema refuses."""


def _integer(value: Any) -> int:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if not re.fullmatch(r"[+-]?\d+", text):
        raise Bad(f"type check ('integer') failed - got '{value}'")
    return int(text)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise Bad(f"type check ('number') failed - got '{value}'") from error


def _boolean(value: Any) -> int:
    text = str(int(value)) if isinstance(value, bool) else str(value).lower()
    if text in _TRUE:
        return 1
    if text in _FALSE:
        return 0
    raise Bad(f"type check ('boolean') failed - got '{value}'")


def _array(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


CASTS: dict[str, Callable[[Any], Any]] = {
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "array": _array,
    "string": str,
}


def _limits(schema: dict[str, Any], value: Any) -> None:
    length = len(value) if isinstance(value, str) else None
    if "enum" in schema and value not in schema["enum"] and str(value) not in map(str, schema["enum"]):
        raise Bad(f"value '{value}' does not have a value in the enumeration '{', '.join(map(str, schema['enum']))}'")
    if length is not None and "maxLength" in schema and length > int(schema["maxLength"]):
        raise Bad(f"value may only be {schema['maxLength']} characters long")
    if length is not None and "minLength" in schema and length < int(schema["minLength"]):
        raise Bad(f"value must be at least {schema['minLength']} characters long")
    if isinstance(value, int | float) and "minimum" in schema and value < float(schema["minimum"]):
        raise Bad(f"value must have a minimum value of {schema['minimum']}")
    if isinstance(value, int | float) and "maximum" in schema and value > float(schema["maximum"]):
        raise Bad(f"value must have a maximum value of {schema['maximum']}")
    if isinstance(value, str) and "pattern" in schema and not _matches(schema["pattern"], value):
        raise Bad("value does not match the regex pattern")


_DIALECT = (("(?^:", "(?:"), ("(?^i:", "(?i:"), ("[[:^cntrl:]]", r"[^\x00-\x1f\x7f]"), ("[:cntrl:]", r"\x00-\x1f\x7f"))
"""How Perl and Rust write what Python writes otherwise."""


def _matches(pattern: str, value: str) -> bool:
    """Perl and Python agree on nearly all of the schema's patterns; one that Python can't read accepts everything."""
    bare = pattern[1:-1] if pattern.startswith("/") and pattern.endswith("/") else pattern
    for theirs, ours in _DIALECT:
        bare = bare.replace(theirs, ours)
    try:
        return re.fullmatch(bare, value) is not None
    except re.error:
        return True


def _format(form: Any, value: str) -> None:
    if isinstance(form, dict):
        _property_string(form, value)
        return
    name = str(form)
    parts = [value]
    if name.endswith("-list") and name[:-5] in FORMATS:
        name, parts = name[:-5], [part for part in re.split(r"[,;\s\0]+", value) if part]
    if name not in FORMATS:
        return
    wanted, text = FORMATS[name]
    for part in parts:
        if not wanted.fullmatch(part):
            raise Bad(f"invalid format - {text.format(part)}\n")


def _property_string(fields: dict[str, Any], value: str) -> None:
    """`virtio=AA:…,bridge=vmbr0`: every key must be a field, a bare value stands for the default key."""
    if not fields:
        return
    default = next((name for name, sub in fields.items() if sub.get("default_key")), None)
    for part in filter(None, value.split(",")):
        key, equals, _ = part.partition("=")
        if equals and key not in fields and not any(_indexed(name, key) for name in fields):
            raise Bad(f"invalid format - format error\n{key}: {UNKNOWN}\n")
        if not equals and default is None:
            raise Bad("invalid format - value without key, but schema does not define a default key\n")


def _indexed(name: str, key: str) -> bool:
    return name.endswith("[n]") and re.fullmatch(re.escape(name[:-3]) + r"\d+", key) is not None


def check_value(schema: dict[str, Any], value: Any) -> Any:
    """Return the value in its type, or raise `Bad` with the host's words."""
    typed = CASTS.get(schema["type"], lambda same: same)(value)
    _limits(schema, typed)
    if isinstance(typed, str) and "format" in schema and typed:
        _format(schema["format"], typed)
    if isinstance(typed, int) and schema.get("format") == "pve-vmid":
        _format("pve-vmid", str(typed))
    if isinstance(typed, list) and isinstance(schema.get("items"), dict):
        typed = [check_value(schema["items"], item) for item in typed]
    return typed


def verify(method: Method, given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Check all parameters; returns the typed values and the errors by name."""
    typed: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, value in given.items():
        schema = parameter(method, name)
        if schema is None:
            if method.open:
                typed[name] = value
            else:
                errors[name] = UNKNOWN
            continue
        try:
            typed[name] = check_value(schema, value)
        except Bad as bad:
            errors[name] = str(bad)
    for name, schema in method.parameters.items():
        if name in given:
            needed = schema.get("requires")
            if needed and needed not in given:
                errors[needed] = f"missing property - '{name}' requires this property"
        elif not schema.get("optional") and not name.endswith("[n]"):
            errors[name] = MISSING
    return typed, errors
