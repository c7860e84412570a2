"""Property strings (`virtio=BC:…,bridge=vmbr0,firewall=1`): the one place where they are written, and taken apart.

Whoever can put a `,` or a `=` into a value can set what he was not asked for, so values refuse both, `;` and control
characters. A tuple is a list joined by `;` (boot order), None is left out, yes and no are 1 and 0.
"""

import re
from collections.abc import Mapping

from mqtt_bridge.actions.row import ActionError

Value = str | int | bool | tuple[str, ...] | None
HEAD = ""  # the key of a value that stands first, without a name: `local-lvm:32` in `local-lvm:32,ssd=1`
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_UNSAFE = re.compile(r"[,=;\x00-\x1f\x7f]")
_VOLUME_KEYS = (HEAD, "file", "volume")


def render(fields: Mapping[str, Value], *, head: Value = None) -> str:
    """Fields as one string, in their order, `head` first. ActionError names the field whose value cannot be sent."""
    pieces = [] if head is None else [_checked("value", head)]
    pieces += [_piece(key, value) for key, value in fields.items() if value is not None]
    return ",".join(pieces)


def parse(text: str) -> dict[str, str]:
    """The fields of a string from Proxmox; what has no name is under HEAD. Values stay as they are."""
    return {key: value for key, _, value in map(_split, _pieces(text))}


def alter(text: str, fields: Mapping[str, Value], *, head: Value = None) -> str:
    """A string from Proxmox with some fields changed, added, or (None) taken out; the others stay letter by letter.

    `head` replaces the unnamed value where it is given.
    """
    pieces: dict[str, str | None] = {_split(piece)[0]: piece for piece in _pieces(text)}
    pieces |= {key: None if value is None else _piece(key, value) for key, value in fields.items()}
    if head is not None:
        pieces = {HEAD: None} | pieces | {HEAD: _checked("value", head)}
    return ",".join(piece for piece in pieces.values() if piece is not None)


def volume_of(text: str) -> str:
    """The volume of a drive or mount point; empty if it names none (`none,media=cdrom`, a bind mount's path)."""
    fields = parse(text)
    volid = next((fields[key] for key in _VOLUME_KEYS if key in fields), "")
    return volid if ":" in volid and not volid.startswith("/") else ""


def _piece(key: str, value: Value) -> str:
    if not _KEY.fullmatch(key):
        raise ValueError(f"{key!r} is no key of a property string")
    return f"{key}={_checked(key, value)}"


def _checked(key: str, value: Value) -> str:
    if isinstance(value, tuple):
        return ";".join(_checked(key, each) for each in value)
    text = str(int(value)) if isinstance(value, bool) else str(value)
    if not text or text != text.strip() or _UNSAFE.search(text):
        raise ActionError(
            f"The {key} {text[:80]!r} cannot be sent to Proxmox.",
            cure="It must not be empty, begin or end with a space, or contain ',', '=', ';' or control characters.",
        )
    return text


def _pieces(text: str) -> list[str]:
    return [piece.strip() for piece in text.split(",") if piece.strip()]


def _split(piece: str) -> tuple[str, str, str]:
    key, equals, value = piece.partition("=")
    return (key, equals, value) if equals else (HEAD, "", piece)
