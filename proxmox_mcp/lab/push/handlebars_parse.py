"""From a template's text to its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, TypeAlias

_TAG = re.compile(
    r"\{\{\{(?P<raw>[^{}]*)\}\}\}|\{\{(?P<left>~?)(?:(?P<note>!--.*?--|!.*?)|(?P<tag>.*?))(?P<right>~?)\}\}", re.DOTALL
)
_TOKEN = re.compile(r"""\s*(?:(?P<paren>[()])|"(?P<double>[^"]*)"|'(?P<single>[^']*)'|(?P<word>[^\s()"']+))""")
_ALONE_BEFORE = re.compile(r"(?:^|(?<=\n))[ \t]*$")
_ALONE_AFTER = re.compile(r"[ \t]*(?:\r?\n|$)")
BLOCKS = ("if", "unless", "with", "each")


class TemplateError(Exception):
    """A template that can't be rendered."""


@dataclass(frozen=True, slots=True)
class Literal:
    value: Any


@dataclass(frozen=True, slots=True)
class Path:
    names: tuple[str, ...]
    up: int = 0


@dataclass(frozen=True, slots=True)
class Call:
    name: str
    arguments: tuple[Expression, ...]


Expression: TypeAlias = Literal | Path | Call


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Out:
    value: Expression


@dataclass(slots=True)
class Block:
    name: str
    subject: Expression
    body: list[Part] = field(default_factory=list)
    otherwise: list[Part] = field(default_factory=list)


Part: TypeAlias = Text | Out | Block


def parse(template: str) -> list[Part]:
    """Read a template, or raise `TemplateError`."""
    top: list[Part] = []
    here, opened = top, list[tuple[Block, list[Part]]]()
    for piece in _pieces(template):
        if isinstance(piece, Text):
            here.append(piece)
        elif piece.startswith("#"):
            block = _open(piece)
            here.append(block)
            opened.append((block, here))
            here = block.body
        elif piece in ("else", "^"):
            here = _innermost(opened, piece).otherwise
        elif piece.startswith("/"):
            if _innermost(opened, piece).name != piece[1:].strip():
                raise TemplateError(f"closing '{piece[1:]}' does not match")
            here = opened.pop()[1]
        else:
            here.append(Out(_expression(piece)))
    if opened:
        raise TemplateError(f"'{opened[-1][0].name}' is not closed")
    return top


def _innermost(opened: list[tuple[Block, list[Part]]], piece: str) -> Block:
    if not opened:
        raise TemplateError(f"unexpected '{piece}'")
    return opened[-1][0]


def _open(piece: str) -> Block:
    name, _, rest = piece[1:].strip().partition(" ")
    if name not in BLOCKS:
        raise TemplateError(f"Helper not defined: {name!r}")
    return Block(name, _expression(rest))


def _pieces(template: str) -> list[Text | str]:
    """Split into text and the insides of tags; lines that hold nothing but a block's tag leave no empty line."""
    found: list[Text | str] = []
    at, strip_next = 0, False
    for tag in _TAG.finditer(template):
        before = template[at : tag.start()]
        at = tag.end()
        inside = (tag["raw"] if tag["raw"] is not None else tag["tag"] or "").strip()
        silent = tag["note"] is not None or inside.startswith(("#", "/")) or inside in ("else", "^")
        before = before.lstrip() if strip_next else before
        after = _ALONE_AFTER.match(template, at)
        if silent and after and _ALONE_BEFORE.search(template[: tag.start()]):
            before, at = before.rstrip(" \t"), after.end()
        found.append(Text(before.rstrip() if tag["left"] else before))
        strip_next = bool(tag["right"])
        if tag["note"] is None:
            found.append(inside)
    rest = template[at:]
    return [*found, Text(rest.lstrip() if strip_next else rest)]


def _expression(text: str) -> Expression:
    tokens = list(_tokens(text))
    if not tokens:
        raise TemplateError("an empty expression")
    found = _argument(tokens) if tokens[0] == "(" else _sequence(tokens)
    if tokens:
        raise TemplateError(f"unexpected ')' in '{text}'")
    return found


def _tokens(text: str) -> list[Literal | str]:
    found: list[Literal | str] = []
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise TemplateError(f"cannot read '{text}'")
        at = match.end()
        quoted = match["double"] if match["double"] is not None else match["single"]
        found.append(Literal(quoted) if quoted is not None else match["paren"] or match["word"])
    return found


def _sequence(tokens: list[Literal | str]) -> Expression:
    """Read `name argument …` up to a closing parenthesis; a lone word is a value."""
    head = tokens.pop(0)
    arguments: list[Expression] = []
    while tokens and tokens[0] != ")":
        arguments.append(_argument(tokens))
    if not arguments:
        return _word(head)
    if not isinstance(head, str):
        raise TemplateError("a text is no helper")
    return Call(head, tuple(arguments))


def _argument(tokens: list[Literal | str]) -> Expression:
    if tokens[0] != "(":
        return _word(tokens.pop(0))
    tokens.pop(0)
    if not tokens:
        raise TemplateError("'(' is not closed")
    found = _sequence(tokens)
    if not tokens:
        raise TemplateError("'(' is not closed")
    tokens.pop(0)
    return found


_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}


def _word(word: Literal | str) -> Expression:
    if isinstance(word, Literal):
        return word
    if word in _CONSTANTS:
        return Literal(_CONSTANTS[word])
    if re.fullmatch(r"-?\d+(\.\d+)?", word):
        return Literal(float(word) if "." in word else int(word))
    up = 0
    while word.startswith("../"):
        word, up = word[3:], up + 1
    names = [name.strip("[]") for name in re.findall(r"\[[^\]]*\]|[^./\[\]]+", word)]
    return Path(tuple(name for name in names if name != "this"), up)
