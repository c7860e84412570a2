"""What an IMAP server says, as values. Raises ValueError for what is none of the protocol, never anything else."""

import base64
import binascii
import imaplib
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

Value = bytes | None | list["Value"]

_TOKEN = re.compile(rb' *(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|~?\{(\d{1,10})\+?\}|([^\s()"{]+))')
_DEEPEST = 32  # lists in lists; nothing that is asked for nests deeper than 2
_LITERAL = re.compile(rb"\{(\d{1,10})\+?\}\Z")
_ENCODED = re.compile(r"&([A-Za-z0-9+,]*)-")
_RUNS = re.compile(r"([\x20-\x7e]+)|([^\x20-\x7e]+)")


@dataclass(frozen=True, slots=True)
class Response:
    """One response. In `line` a literal's place is its `{length}`; their octets are in `literals`, in order."""

    line: bytes
    literals: tuple[bytes, ...] = ()

    def values(self) -> list[Value]:
        """Everything after the tag or `*`."""
        octets = iter(self.literals)
        stack: list[list[Value]] = [[]]
        place = self.line.find(b" ")
        while place >= 0 and self.line[place:].strip():
            token = _TOKEN.match(self.line, place)
            if token is None:
                raise ValueError("not a response of IMAP")
            place = token.end()
            _take(stack, token, octets)
        if len(stack) != 1:
            raise ValueError("a list has no end")
        return stack[0]


def _take(stack: list[list[Value]], token: re.Match[bytes], octets: Iterator[bytes]) -> None:
    opened, closed, quoted, literal, atom = token.groups()
    if opened:
        if len(stack) >= _DEEPEST:
            raise ValueError("nested too deep")
        stack.append([])
    elif closed:
        if len(stack) < 2:  # noqa: PLR2004 -- the outermost list is not the server's
            raise ValueError("a list that was not begun ends")
        done = stack.pop()
        stack[-1].append(done)
    elif quoted is not None:
        stack[-1].append(re.sub(rb"\\(.)", rb"\1", quoted))
    elif literal is not None:
        stack[-1].append(next(octets, None))
    else:
        stack[-1].append(None if atom.upper() == b"NIL" else atom)


def literal_length(line: bytes) -> int | None:
    """How many octets follow this line as part of the same response."""
    match = _LITERAL.search(line)
    return int(match[1]) if match else None


def items_of(response: Response) -> dict[str, Value]:
    """`* 12 FETCH (UID 7 RFC822.SIZE 44)` as names in upper case and values; empty for any other response."""
    if b" FETCH " not in response.line[:40].upper():
        return {}
    values = response.values()
    items = values[2] if len(values) > 2 else None  # noqa: PLR2004 -- number, FETCH, items
    if not isinstance(items, list):
        return {}
    pairs = zip(items[::2], items[1::2], strict=False)
    return {name.decode("latin-1").upper(): value for name, value in pairs if isinstance(name, bytes)}


def number(value: Value) -> int | None:
    """None for what is no number of at most 64 bits."""
    return int(value) if isinstance(value, bytes) and value.isdigit() and len(value) < 20 else None  # noqa: PLR2004


def arrived(value: Value) -> float | None:
    """INTERNALDATE in Unix seconds."""
    if not isinstance(value, bytes):
        return None
    try:
        local = imaplib.Internaldate2tuple(b'INTERNALDATE "' + value + b'"')
        return time.mktime(local) if local else None
    except (ValueError, OverflowError, OSError, KeyError):
        return None


def encode_folder(name: str) -> str:
    """Modified UTF-7 (RFC 3501, 5.1.3)."""
    return "".join(plain.replace("&", "&-") if plain else _shifted(other) for plain, other in _RUNS.findall(name))


def _shifted(text: str) -> str:
    packed = base64.b64encode(text.encode("utf-16-be", "replace")).decode().rstrip("=").replace("/", ",")
    return f"&{packed}-"


def decode_folder(name: str) -> str:
    """The way back; what is no modified UTF-7 stays as it is."""
    return _ENCODED.sub(_unshifted, name)


def _unshifted(match: re.Match[str]) -> str:
    packed = match[1].replace(",", "/")
    if not packed:
        return "&"
    try:
        return base64.b64decode(packed + "=" * (-len(packed) % 4)).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        return match[0]
