"""A screenshot made small: PNG of at most 256 colours, for documents. What it reads is what Chromium writes."""

import struct
import zlib
from collections.abc import Iterator

_SIGN = b"\x89PNG\r\n\x1a\n"
_CHANNELS = {2: 3, 6: 4}  # by colour type: RGB, RGBA
_COLOURS = 256
_STEPS = (1, 4, 8, 16, 32, 64)  # the last makes 125 colours at most


def small(png: bytes) -> bytes:
    """The same picture with a palette; ValueError for a PNG of another kind."""
    width, height, rows = _read(png)
    for step in _STEPS:
        pixels = list(_coarse(rows, step))
        palette = sorted({one for row in pixels for one in row})
        if len(palette) <= _COLOURS:
            break
    index = {colour: number for number, colour in enumerate(palette)}
    body = b"".join(b"\0" + bytes(index[one] for one in row) for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = ((b"IHDR", head), (b"PLTE", b"".join(palette)), (b"IDAT", zlib.compress(body, 9)), (b"IEND", b""))
    return _SIGN + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def _coarse(rows: list[bytes], step: int) -> Iterator[list[bytes]]:
    """Colours that differ by less than a step are the same; white and black stay."""
    steps = bytes(min(255, (value + step // 2) // step * step) for value in range(256))
    for row in rows:
        plain = row.translate(steps)
        yield [plain[at : at + 3] for at in range(0, len(plain), 3)]


def _read(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height, and the rows as RGB."""
    chunks = list(_chunks(png))
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", dict(chunks)[b"IHDR"])
    if depth != 8 or kind not in _CHANNELS or interlaced:
        raise ValueError(f"not a PNG as Chromium writes it: depth {depth}, colour type {kind}")
    size = _CHANNELS[kind]
    data = zlib.decompress(b"".join(part for name, part in chunks if name == b"IDAT"))
    rows, before, length = [], bytes(width * size), width * size + 1
    for at in range(0, height * length, length):
        before = _plain(data[at], data[at + 1 : at + length], before, size)
        rows.append(before)
    return width, height, [_rgb(row, size) for row in rows]


def _chunks(png: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = len(_SIGN)
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        yield png[at + 4 : at + 8], png[at + 8 : at + 8 + length]
        at += length + 12


def _rgb(row: bytes, size: int) -> bytes:
    if size == _CHANNELS[2]:
        return row
    plain = bytearray(len(row) // 4 * 3)
    for channel in range(3):
        plain[channel::3] = row[channel::4]
    return bytes(plain)


def _plain(how: int, row: bytes, above: bytes, size: int) -> bytes:
    """A row without its filter (PNG specification, section 9)."""
    if how == 0:
        return row
    out = bytearray(row)
    for at in range(len(row)):
        left = out[at - size] if at >= size else 0
        up = above[at]
        corner = above[at - size] if at >= size else 0
        out[at] = (row[at] + (left, up, (left + up) // 2, _paeth(left, up, corner))[how - 1]) & 255
    return bytes(out)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda one: abs(guess - one))
