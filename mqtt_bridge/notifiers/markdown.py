"""Text from outside in the Markdown of Discord and Gotify: shown as it is, whatever it says.

Neither a mention, nor a link with another name, nor an image or a heading comes of it; a log does not leave its block.
"""

import re
from collections.abc import Iterator

_ANYWHERE = frozenset("\\`*_[]<>~|&@")
_LINE_START = frozenset("#-+=:")
_NUMBERED = re.compile(r"\d{1,9}(?=[.)])")
_LINKING = re.compile(r":(?=//)|(?<=\bwww)\.", re.IGNORECASE)  # what would make a link of a plain text
_BACKTICKS = re.compile("`(?=`)")
_APART = "`\N{ZERO WIDTH SPACE}"
FENCE_SIZE = 8


def escape(text: str, line_break: str = "\n") -> Iterator[str]:
    """One atom for each character, escaped where it would be markup; `line_break` is what keeps lines apart.

    Blanks at the begin of a line go: four of them would make a code block.
    """
    for number, line in enumerate(text.split("\n")):
        if number:
            yield line_break
        yield from _escaped(line.strip())


def _escaped(line: str) -> Iterator[str]:
    special = {found.start() for found in _LINKING.finditer(line)}
    if numbered := _NUMBERED.match(line):
        special.add(numbered.end())
    for at, character in enumerate(line):
        marks = character in _ANYWHERE or at in special or (at == 0 and character in _LINE_START)
        yield f"\\{character}" if marks else character


def unfenceable(log: str) -> str:
    """No two backticks beside each other, so that nothing in `log` ends the block around it."""
    return _BACKTICKS.sub(_APART, log)


def fenced(log: str) -> str:
    """A code block of what `unfenceable` returned; FENCE_SIZE more."""
    return f"```\n{log}\n```"
