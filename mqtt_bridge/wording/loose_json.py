"""JSON as people's templates really send it: with raw newlines and quotes, encoded values, JSON within strings."""

import binascii
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qsl, unquote, unquote_plus

DEPTH = 100
LABEL = 80
PAIR = 3  # name, value and how to show them
_KEYS = (
    "title|subject|headline|message|text|content|body|description|msg|summary|severity|priority|level|status|hostname"
    "|host|node|nodename|type|event|timestamp|date|job-id|job|fields|source|details|datastore|name|value|username"
    "|embeds|attachments|extras|color|footer|chat_id|parse_mode|topic|tags|instance|format|icon|channel|id|appid"
)
_MEMBER = re.compile(
    rf'(?:^|[,{{\[\n])[ \t\r\n]{{0,40}}["“](?P<key>{_KEYS})["”][ \t]{{0,5}}:[ \t\r\n]{{0,40}}', re.IGNORECASE
)
_END = re.compile(r"[\s,}\]]*$")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|([\s\S]))")
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "b": "", "f": "\n"}
_FORM = re.compile(r"[\w.\[\]%~-]{1,80}=[^&\n]*(?:&[\w.\[\]%~-]{1,80}=[^&\n]*)*\s*")
_PERCENT = re.compile(r"%[0-9A-Fa-f]{2}")
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4}){6,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_BASE64_LIMIT = 2_000_000


def parsed(text: str) -> Any:
    """What `text` holds: JSON, broken JSON, a form; None where it is neither, so that it is text."""
    start = text.lstrip("\ufeff \t\r\n")
    if start[:1] in ("{", "["):
        whole = _whole(start)
        return whole if whole is not None else _salvaged(start)
    if _FORM.fullmatch(start[:100_000]):
        return _form(start)
    return None


def _whole(text: str) -> Any:
    if too_deep(text):
        return None
    try:
        return json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None


def too_deep(text: str) -> bool:
    """More than DEPTH brackets open, those within strings counted too."""
    depth = 0
    for bracket in re.finditer(r"[\[\]{}]", text):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > DEPTH:
            return True
    return False


def _salvaged(text: str) -> dict[str, Any] | None:
    """Members by the keys that templates use; a value goes on to the next such key."""
    marks = list(_MEMBER.finditer(text))[:200]
    out: dict[str, Any] = {}
    for number, mark in enumerate(marks):
        end = marks[number + 1].start() if number + 1 < len(marks) else len(text)
        value = _END.sub("", text[mark.end() : end][:1_000_000][-1_000_000:])
        if not value or value[0] in "[{":
            continue
        out.setdefault(mark["key"].lower(), _unescaped(value[1:].removesuffix('"')) if value[0] in '"“' else value)
    return out or None


def _unescaped(text: str) -> str:
    def plain(found: re.Match[str]) -> str:
        if found[1]:
            return chr(int(found[1], 16))
        return _ESCAPED.get(found[2], found[2] if found[2] in '"\\/' or not found[2].isalnum() else found[0])

    return _ESCAPE.sub(plain, text).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _form(text: str) -> dict[str, Any] | None:
    try:
        pairs = dict(parse_qsl(text.strip(), keep_blank_values=True, max_num_fields=200))
    except ValueError:
        return None
    if len(pairs.get("payload", "")) > 1:
        return {**pairs, "payload": nested(pairs["payload"])}
    return dict(pairs) if re.search(rf"(?:^|&)(?:{_KEYS})=", text, re.IGNORECASE) else None


def nested(value: str) -> Any:
    """A string that holds something itself: JSON, percent-encoded text, base64."""
    text = value.strip()
    if text[:2] in ('{"', "[{", '["', "{\n", "[\n") or re.match(r'[\[{]\s{0,20}["{]', text):
        inner = parsed(text)
        return value if inner is None else inner
    if " " not in text and "\n" not in text and len(_PERCENT.findall(text[:3000])) > 1:
        return (unquote_plus if "+" in text and "%20" not in text else unquote)(text, errors="replace")
    return _from_base64(text) or value


def _from_base64(text: str) -> str | None:
    """Text behind base64, if it is readable text."""
    compact = text.replace("\n", "").replace("\r", "")
    if len(compact) > _BASE64_LIMIT or not _BASE64.fullmatch(compact):
        return None
    try:
        plain = binascii.a2b_base64(compact).decode()
    except (ValueError, binascii.Error):
        return None
    return plain if all(c.isprintable() or c in "\n\r\t" for c in plain[:2000]) else None


def members(value: Any, limit: int = 3000, depth: int = 10) -> Iterator[tuple[str, Any]]:
    """Every key with its plain value, the outer ones first; strings are looked into, `name`/`value` pairs too."""
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(depth):
        inner: list[tuple[str, Any]] = []
        for key, item in level:
            limit -= 1
            if limit < 0:
                return
            opened = nested(item) if isinstance(item, str) else item
            if isinstance(opened, dict):
                inner += _pairs(opened)
            elif isinstance(opened, list):
                inner += [(key, element) for element in opened[:200]]
            else:
                yield key, opened
        level = inner


def _pairs(item: dict[str, Any]) -> list[tuple[str, Any]]:
    name = item.get("name") or item.get("title")
    value = item.get("value")
    if isinstance(name, str) and isinstance(value, str | int | float) and len(item) <= PAIR and len(name) <= LABEL:
        return [(name.lower().strip(" :*"), value)]
    return [(str(key).lower(), inner) for key, inner in list(item.items())[:200]]
