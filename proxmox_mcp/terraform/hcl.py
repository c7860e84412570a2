"""HCL as `terraform fmt` lays it out: two spaces, equals signs of neighbouring lines in one column."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}


@dataclass(frozen=True)
class Raw:
    """An expression that is written as it is: a reference, never a text from outside."""

    text: str


Scalar = str | int | float | bool | Raw
Value = Scalar | Sequence[Scalar] | None


@dataclass(frozen=True)
class Block:
    """`type "label" { … }`: attributes first, then blocks. Attributes that are None are left out."""

    type: str
    attributes: tuple[tuple[str, Value], ...] = ()
    blocks: tuple["Block", ...] = ()
    labels: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands in it."""
        return not self.blocks and all(value is None for _, value in self.attributes)

    def lines(self, depth: int = 0) -> Iterator[str]:
        """Its lines; a block that follows something has an empty line before it."""
        pad = "  " * depth
        head = " ".join((self.type, *(quoted(label) for label in self.labels)))
        given = [(name, value) for name, value in self.attributes if value is not None]
        if not given and not self.blocks:
            yield f"{pad}{head} {{}}"
            return
        yield f"{pad}{head} {{"
        width = max((len(name) for name, _ in given), default=0)
        for name, value in given:
            yield f"{pad}  {name:<{width}} = {expression(value)}"
        for number, block in enumerate(self.blocks):
            if number or given:
                yield ""
            yield from block.lines(depth + 1)
        yield f"{pad}}}"

    def __str__(self) -> str:
        return "\n".join(self.lines())


def expression(value: Value) -> str:
    """A value as HCL."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:g}" if isinstance(value, float) else str(value)
    if isinstance(value, str):
        return quoted(value)
    return f"[{', '.join(expression(each) for each in value or ())}]"


def quoted(text: str) -> str:
    """A text that is nothing but text: no quote ends it, no `${` or `%{` in it is evaluated, nothing is invisible."""
    out: list[str] = []
    for place, char in enumerate(text):
        if char in "$%" and text[place + 1 : place + 2] == "{":
            out.append(f"\\u{ord(char):04x}" if text[place - 1 : place] == char else char * 2)
        elif char in _ESCAPES:
            out.append(_ESCAPES[char])
        elif char.isprintable():
            out.append(char)
        elif char != "\0" and not 0xD800 <= ord(char) <= 0xDFFF:  # noqa: PLR2004 -- HCL has neither null nor halves
            out.append(f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}")  # noqa: PLR2004
    return f'"{"".join(out)}"'


def document(blocks: Sequence[tuple[tuple[str, ...], Block]]) -> str:
    """Blocks with their comments before them, an empty line between."""
    pieces = [
        "\n".join((*(f"# {' '.join(line.split())}" for line in comments), str(block))) for comments, block in blocks
    ]
    return "\n\n".join(pieces) + "\n"
