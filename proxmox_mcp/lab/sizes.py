"""Sizes as Proxmox writes them: `32G`, `+1G`, `512M`."""

from __future__ import annotations

import re
from typing import Any

_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
_DISK_KEYS = re.compile(r"(?:scsi|virtio|sata|ide)\d+")


def parse(text: str) -> int:
    """Bytes of `32G`; 0 for what is no size."""
    found = re.fullmatch(r"\+?(\d+(?:\.\d+)?)([KMGT]?)", text)
    return int(float(found[1]) * _UNITS[found[2]]) if found else 0


def render(size: int) -> str:
    """Write bytes with the largest unit that divides them."""
    for unit in "TGMK":
        if size and size % _UNITS[unit] == 0:
            return f"{size // _UNITS[unit]}{unit}"
    return str(size)


def disks(config: dict[str, Any], kind: str) -> dict[str, str]:
    """Give the guest's disks: key → property string, without CD drives."""
    if kind == "lxc":
        return {key: str(value) for key, value in config.items() if key == "rootfs" or re.fullmatch(r"mp\d+", key)}
    return {
        key: str(value)
        for key, value in config.items()
        if _DISK_KEYS.fullmatch(key) and "media=cdrom" not in str(value) and not str(value).startswith("none")
    }


def size_of(drive: str) -> int:
    found = re.search(r"size=([^,]+)", drive)
    return parse(found[1]) if found else 0


def disk_size(config: dict[str, Any], kind: str) -> int:
    """Bytes of the boot disk."""
    if kind == "lxc":
        return size_of(str(config.get("rootfs", "")))
    boot = re.search(r"order=([^;,]+)", str(config.get("boot", "")))
    drives = disks(config, kind)
    first = boot[1] if boot and boot[1] in drives else next(iter(sorted(drives)), "")
    return size_of(drives.get(first, ""))
