"""The part of Handlebars that people use in Proxmox's webhooks: written after what proxmox-notify registers.

Values are not HTML-escaped there; `json`, `escape` and `url-encode` are Proxmox's own helpers, the others come with
the engine. What is missing renders as nothing. Not here: partials, decorators, block parameters, hash arguments.
"""

from __future__ import annotations

import json
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from .handlebars_parse import Block, Call, Expression, Literal, Out, Path, TemplateError, Text, parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from .handlebars_parse import Part

__all__ = ["TemplateError", "render"]

_RESERVED = ":/?#[]@!$&'()*+,;=% "
_SAFE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in _RESERVED)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def _escape(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError("escape: missing text parameter")
    return _json(value)[1:-1]


def _url_encode(value: Any) -> str:
    if not isinstance(value, str):
        raise TemplateError("url-encode: missing parameter")
    return quote(value, safe=_SAFE)


def _lookup(holder: Any, key: Any) -> Any:
    if isinstance(holder, dict):
        return holder.get(key)
    inside = isinstance(holder, list) and isinstance(key, int) and key < len(holder)
    return holder[key] if inside else None


HELPERS: dict[str, tuple[int, Callable[..., Any]]] = {
    "json": (1, _json),
    "escape": (1, _escape),
    "url-encode": (1, _url_encode),
    "lookup": (2, _lookup),
    "eq": (2, operator.eq),
    "ne": (2, operator.ne),
    "gt": (2, operator.gt),
    "gte": (2, operator.ge),
    "lt": (2, operator.lt),
    "lte": (2, operator.le),
    "and": (2, lambda left, right: bool(left and right)),
    "or": (2, lambda left, right: bool(left or right)),
    "not": (1, operator.not_),
    "len": (1, len),
}


@dataclass(frozen=True, slots=True)
class _Scope:
    """What `this` is, the `@` variables, and the scope around."""

    this: Any
    local: dict[str, Any]
    outer: _Scope | None = None

    def find(self, path: Path) -> Any:
        scope = self
        for _ in range(path.up):
            scope = scope.outer or scope
        value, names = scope.this, path.names
        if names and names[0].startswith("@"):
            value, names = scope.local.get(names[0][1:]), names[1:]
        for name in names:
            value = value.get(name) if isinstance(value, dict) else None
        return value


def render(template: str, data: dict[str, Any]) -> str:
    """Render, or raise `TemplateError` with the engine's reason."""
    return _parts(parse(template), _Scope(data, {}))


def _parts(parts: list[Part], scope: _Scope) -> str:
    return "".join(_part(part, scope) for part in parts)


def _part(part: Part, scope: _Scope) -> str:
    if isinstance(part, Text):
        return part.text
    if isinstance(part, Out):
        return show(_value(part.value, scope))
    return _BLOCKS[part.name](part, scope)


def _value(expression: Expression, scope: _Scope) -> Any:
    if isinstance(expression, Literal):
        return expression.value
    if isinstance(expression, Path):
        return scope.find(expression)
    return _call(expression, scope)


def _call(call: Call, scope: _Scope) -> Any:
    if call.name not in HELPERS:
        raise TemplateError(f"Helper not defined: {call.name!r}")
    count, run = HELPERS[call.name]
    values = [_value(one, scope) for one in call.arguments]
    if len(values) < count:
        raise TemplateError(f"{call.name}: missing parameter")
    try:
        return run(*values[:count])
    except TypeError as error:
        raise TemplateError(f"{call.name}: invalid parameter") from error


def show(value: Any) -> str:
    """Write a value as the engine does."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "[object]"
    if isinstance(value, list):
        return "[" + ", ".join(map(show, value)) + "]"
    return str(value)


def _if(block: Block, scope: _Scope) -> str:
    return _parts(block.body if _value(block.subject, scope) else block.otherwise, scope)


def _unless(block: Block, scope: _Scope) -> str:
    return _parts(block.otherwise if _value(block.subject, scope) else block.body, scope)


def _with(block: Block, scope: _Scope) -> str:
    value = _value(block.subject, scope)
    return _parts(block.body, _Scope(value, {}, scope)) if value else _parts(block.otherwise, scope)


def _each(block: Block, scope: _Scope) -> str:
    value = _value(block.subject, scope)
    pairs = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value or ()))
    if not pairs:
        return _parts(block.otherwise, scope)
    last = len(pairs) - 1
    return "".join(
        _parts(
            block.body,
            _Scope(one, {"key": key, "index": place, "first": place == 0, "last": place == last}, scope),
        )
        for place, (key, one) in enumerate(pairs)
    )


_BLOCKS: dict[str, Callable[[Block, _Scope], str]] = {"if": _if, "unless": _unless, "with": _with, "each": _each}
