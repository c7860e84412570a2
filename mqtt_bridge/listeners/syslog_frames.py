"""Messages out of a TCP stream: RFC 6587's octet counting, and lines that end with LF, CR LF or NUL, told per frame."""

import re
from typing import NamedTuple

LIMIT = 8192  # bytes of a message that are kept: RFC 5424 asks for 2048, rsyslog's default is 8 KiB

_END = re.compile(rb"[\n\0]")
_BETWEEN = b"\r\n\0"
_COUNT = re.compile(rb"([1-9][0-9]{0,8}) (?=<)")  # lines, too, may begin with digits: a date, a firewall's VMID
_COUNT_AGAIN = re.compile(rb"([1-9][0-9]{0,8}) ")
_COUNT_BEGINS = re.compile(rb"[1-9][0-9]{0,8} ?")


class Frame(NamedTuple):
    """One message; `cut` says that it was longer than is kept."""

    text: bytes
    cut: bool


class Framer:
    """The framing of one connection. Holds at most one unfinished message, of at most `limit` bytes and a count."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._held = b""
        self._count = _COUNT
        self._skip = 0
        self._skip_line = False

    @property
    def unfinished(self) -> bool:
        """Whether the sender is in the middle of a message."""
        return bool(self._held or self._skip or self._skip_line)

    def feed(self, data: bytes) -> list[Frame]:
        """The messages that are complete with this data."""
        stream, at = self._held + data, 0
        frames: list[Frame] = []
        while at < len(stream):
            if self._skip or self._skip_line:
                at = self._skipped(stream, at)
            elif stream[at] in _BETWEEN:
                at += 1
            elif (end := self._next(stream, at, frames)) > at:
                at = end
            else:
                break
        self._held = stream[at:]
        return frames

    def end(self) -> list[Frame]:
        """The connection ended: a message without an end is a message, too."""
        held, self._held = self._held, b""
        self._skip, self._skip_line = 0, False
        if begun := self._count.match(held):
            held = held[begun.end() :]
        text = held.rstrip(_BETWEEN)
        return [Frame(text, cut=False)] if text else []

    def _skipped(self, stream: bytes, at: int) -> int:
        """The rest of a message that was too long."""
        if self._skip:
            step = min(self._skip, len(stream) - at)
            self._skip -= step
            return at + step
        end = _END.search(stream, at)
        self._skip_line = end is None
        return end.end() if end else len(stream)

    def _next(self, stream: bytes, at: int, frames: list[Frame]) -> int:
        """Add the message that begins at `at` and return where it ends; `at` itself when more is needed."""
        if count := self._count.match(stream, at):
            return self._counted(stream, at, int(count[1]), count.end(), frames)
        if _COUNT_BEGINS.fullmatch(stream, at):
            return at
        end = _END.search(stream, at)
        stop = end.start() if end else len(stream)
        if end is None and stop - at <= self._limit:
            return at
        self._add(stream[at : min(stop, at + self._limit)], frames, cut=stop - at > self._limit)
        self._skip_line = end is None
        return end.end() if end else len(stream)

    def _counted(self, stream: bytes, at: int, length: int, start: int, frames: list[Frame]) -> int:
        kept = min(length, self._limit)
        if len(stream) - start < kept:
            return at
        self._count = _COUNT_AGAIN
        self._skip = length - kept
        self._add(stream[start : start + kept], frames, cut=length > kept)
        return start + kept

    def _add(self, text: bytes, frames: list[Frame], *, cut: bool) -> None:
        if text := text.rstrip(_BETWEEN):
            frames.append(Frame(text, cut))
