"""Sizes as Proxmox writes them: `32G`, `+1G`, `512M`."""

from __future__ import annotations

import re
from functools import lru_cache
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


@lru_cache(maxsize=32_768)
def size_of(drive: str) -> int:
    found = re.search(r"size=([^,]+)", drive)
    return parse(found[1]) if found else 0


@lru_cache(maxsize=1024)
def _boot_disk(boot: str) -> str:
    found = re.search(r"order=([^;,]+)", boot)
    return found[1] if found and _DISK_KEYS.fullmatch(found[1]) else ""


def disk_size(config: dict[str, Any], kind: str) -> int:
    """Bytes of the boot disk."""
    if kind == "lxc":
        return size_of(str(config.get("rootfs", "")))
    key = _boot_disk(str(config.get("boot", "")))
    if key not in config:
        drives = disks(config, kind)
        key = next(iter(sorted(drives)), "")
    return size_of(str(config.get(key, "")))
