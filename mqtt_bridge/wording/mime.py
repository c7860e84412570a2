"""A mail taken apart within bounds: parts, encodings, HTML, forwarded mails; cut or broken ones as far as they go."""

import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from mqtt_bridge.wording.charset import decoded
from mqtt_bridge.wording.headers import parameter, split_head, unbase64
from mqtt_bridge.wording.html_text import LIMIT as HTML_LIMIT
from mqtt_bridge.wording.html_text import looks_like_html, text_of

MAIL_LIMIT = 10 * 1024 * 1024
TEXT_LIMIT = 2 * 1024 * 1024
PARTS = 60
DEPTH = 8
_QUOTED = re.compile(r"^(?:[ \t]?>[ \t]?){1,8}", re.MULTILINE)
_QP_MARK = re.compile(rb"=(?:3D|C3=|0D|E2=|\r?\n)")


@dataclass(frozen=True, slots=True)
class Letter:
    """`text` is the text part, or else the HTML part as text. `inner` are mails that were attached."""

    headers: Mapping[str, str] = field(default_factory=dict)
    text: str = ""
    inner: tuple["Letter", ...] = ()
    truncated: bool = False

    @property
    def subject(self) -> str:
        return self.headers.get("subject", "")


@dataclass(slots=True)
class _Found:
    plain: list[str] = field(default_factory=list)
    html: list[str] = field(default_factory=list)
    inner: list[Letter] = field(default_factory=list)
    room: int = TEXT_LIMIT
    parts: int = PARTS


def opened(raw: bytes) -> Letter:
    """The mail `raw`, or the body alone that it is."""
    return _letter(raw[:MAIL_LIMIT], 0, truncated=len(raw) > MAIL_LIMIT)


def _letter(raw: bytes, depth: int, *, truncated: bool = False) -> Letter:
    headers, body = split_head(raw)
    found = _Found()
    _collect(headers, body, depth, found)
    plain = "\n".join(found.plain).strip("\n")
    text = plain if plain.strip() else "\n".join(found.html)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    cut = truncated or found.room <= 0 or found.parts <= 0
    return Letter(headers, unquoted(text), tuple(found.inner), cut)


def unquoted(text: str) -> str:
    """Without the marks of a quoted mail, if most of it is quoted."""
    lines = [line for line in text[:20_000].split("\n") if line.strip()]
    quoted = sum(line.lstrip().startswith(">") for line in lines)
    return _QUOTED.sub("", text) if quoted * 2 > len(lines) else text


def _collect(headers: Mapping[str, str], body: bytes, depth: int, found: _Found) -> None:
    """Put what this part holds into `found`."""
    if found.room <= 0 or found.parts <= 0:
        return
    found.parts -= 1
    kind = headers.get("content-type", "text/plain").split(";")[0].strip().lower()
    content_type = headers.get("content-type", "")
    boundary = parameter(content_type, "boundary") or (_boundary_of(body) if kind.startswith("multipart/") else None)
    if boundary and kind.startswith("multipart/") and depth < DEPTH:
        for part in _parts(body, boundary.encode("utf-8", "replace")):
            if found.room <= 0 or found.parts <= 0:
                return
            _collect(*split_part(part), depth + 1, found)
    elif kind == "message/rfc822" and depth < DEPTH:
        found.inner.append(_letter(_transferred(headers, body), depth + 1))
    elif kind.startswith("text/") or kind in ("", "multipart/mixed", "multipart/alternative"):
        _take_text(kind, parameter(content_type, "charset"), _transferred(headers, body), found)


def _take_text(kind: str, charset: str | None, octets: bytes, found: _Found) -> None:
    limit = min(found.room, HTML_LIMIT if kind == "text/html" else found.room)
    found.room -= min(len(octets), limit)
    if len(octets) > limit:
        found.room = 0
    text = decoded(octets[:limit], charset)
    if kind == "text/html" or (looks_like_html(text[:200]) and "<html" in text[:2000].lower()):
        found.html.append(text_of(text))
    else:
        found.plain.append(text)


def split_part(part: bytes) -> tuple[dict[str, str], bytes]:
    """A part's own head; one without any begins with an empty line."""
    if part[:1] == b"\n" or part[:2] == b"\r\n":
        return {}, part
    return split_head(part)


def _parts(body: bytes, boundary: bytes) -> Iterator[bytes]:
    """What stands between the lines of `boundary`; the last part may lack its end."""
    marker = b"--" + boundary
    position = 0 if body.startswith(marker) else body.find(b"\n" + marker)
    if position < 0:
        return
    position += body[position : position + 1] == b"\n"
    while True:
        start = body.find(b"\n", position)
        if body.startswith(b"--", position + len(marker)) or start < 0:
            return
        end = body.find(b"\n" + marker, start)
        yield body[start + 1 : len(body) if end < 0 else end].removesuffix(b"\r")
        if end < 0:
            return
        position = end + 1


def _boundary_of(body: bytes) -> str | None:
    """The boundary that a broken header does not tell: the first line that begins with two dashes."""
    found = re.search(rb"^--(\S{4,70})\r?$", body[:20_000], re.MULTILINE)
    return found[1].decode("ascii", "replace") if found else None


def _transferred(headers: Mapping[str, str], body: bytes) -> bytes:
    encoding = headers.get("content-transfer-encoding", "").strip().lower()
    if encoding == "base64":
        return unbase64(body)
    if encoding == "quoted-printable" or (not encoding and not headers and _QP_MARK.search(body[:2000])):
        return binascii.a2b_qp(body)
    return body
