"""What every mail becomes, whether it was read from a mailbox or sent to us."""

import asyncio
import hashlib
import time
from email.errors import MessageError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from email.utils import parseaddr

from mqtt_bridge.events.intake import Report
from mqtt_bridge.model import Trust
from mqtt_bridge.wording.clean import one_line
from mqtt_bridge.wording.verdict import Verdict

HEADER_LIMIT = 64 * 1024  # bytes in which the headers end, or are cut
_AT_ONCE = 64 * 1024  # bytes up to which a mail is understood faster than a thread is asked
_IDENTIFYING = ("From", "Date", "Subject")


def headers(raw: bytes) -> Message:
    """The headers alone, whatever follows them."""
    return BytesHeaderParser().parsebytes(raw[:HEADER_LIMIT])


def text_of(head: Message, name: str, limit: int = 200) -> str:
    """A header as people read it, in one line; empty where it is missing."""
    value = head.get(name)
    if value is None:
        return ""
    try:
        decoded = str(make_header(decode_header(value)))
    except (LookupError, ValueError, MessageError):  # an unknown charset, broken base64
        decoded = str(value)
    return one_line(decoded, limit)


def sender(head: Message) -> tuple[str, str]:
    """Name and address of From, the address in lower case; both empty where it cannot be read."""
    try:
        name, address = parseaddr(text_of(head, "From", 500))
    except (RecursionError, IndexError):  # hundreds of brackets, and what else Python's parser does not expect
        return "", ""
    return name, address.casefold()


def identity(raw: bytes, head: Message) -> str:
    """Message-ID and content: the same mail delivered twice, over two ways or into two folders, is one.

    What relays add on the way (Received, Delivered-To, …) and their line ends do not count.
    """
    digest = hashlib.sha256()
    for name in _IDENTIFYING:
        digest.update(text_of(head, name, 1000).encode() + b"\0")
    digest.update(_body(raw).replace(b"\r\n", b"\n").strip())
    return f"{text_of(head, 'Message-ID', 250)} {digest.hexdigest()}".strip()


def _body(raw: bytes) -> bytes:
    ends = [(place, len(mark)) for mark in (b"\r\n\r\n", b"\n\n") if (place := raw.find(mark)) >= 0]
    if not ends:
        return b""
    place, length = min(ends)
    return raw[place + length :]


def understand(raw: bytes, now: float) -> Verdict:
    """By the tables of wording."""
    from mqtt_bridge.wording import classify  # noqa: PLC0415 -- many patterns, compiled only where mail is read

    return classify("email", raw, now=now)


async def understood(raw: bytes) -> Verdict:
    """The same without holding up the loop over a large mail."""
    now = time.time()
    if len(raw) <= _AT_ONCE:
        return understand(raw, now)
    return await asyncio.to_thread(understand, raw, now)


def report(
    raw: bytes, verdict: Verdict, trust: Trust, *, arrived: float | None = None, **metadata: str | int | bool
) -> Report:
    """`raw` may be the beginning of a mail alone. `arrived` is the time where the mail itself tells none."""
    head = headers(raw)
    known = {"message_id": text_of(head, "Message-ID"), "from": sender(head)[1], "subject": text_of(head, "Subject")}
    shown = {name: one_line(value) if isinstance(value, str) else value for name, value in metadata.items()}
    at = arrived if verdict.at is None else None
    return Report(identity(raw, head), verdict, trust, at, metadata={k: v for k, v in known.items() if v} | shown)
