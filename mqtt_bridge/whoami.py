"""Which guest or node this process runs on: actions that would take that down need an approval.

A virtual machine is known by its SMBIOS UUID, which only root may read, and a VM or container by the MAC addresses of
its network cards, which everyone may. A node is known by its address being one of ours.
"""

import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from uuid import UUID

_UUID = re.compile(r"(?:^|,)uuid=([0-9a-fA-F-]{36})")
_MAC = re.compile(r"\b(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}\b")
_NOT_OURS = frozenset({"00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"})


@dataclass(frozen=True)
class Identity:
    """This machine as far as it can be told; empty matches nothing."""

    uuids: frozenset[UUID] = frozenset()
    macs: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.uuids or self.macs)

    def matches(self, config: Mapping[str, Any]) -> bool:
        """Whether a guest's configuration describes this machine."""
        uuid = _UUID.search(str(config.get("smbios1", "")))
        if uuid and _uuid(uuid[1]) in self.uuids:
            return True
        cards = (str(value) for key, value in config.items() if key.startswith("net"))
        return any(mac.lower() in self.macs for card in cards for mac in _MAC.findall(card))


def read_identity(sys: Path = Path("/sys")) -> Identity:
    """What the kernel tells; on systems without /sys nothing, and PROXMOX_SELF_GUESTS has to say it."""
    uuid = _uuid(_read(sys / "class/dmi/id/product_uuid"))
    cards = (_read(card / "address").lower() for card in sorted((sys / "class/net").glob("*")))
    # Machines with an SMBIOS older than 2.6 show the first three fields with their bytes swapped.
    uuids = frozenset({uuid, UUID(bytes_le=uuid.bytes)}) if uuid else frozenset[UUID]()
    return Identity(uuids, frozenset(mac for mac in cards if _MAC.fullmatch(mac)) - _NOT_OURS)


def is_own_address(ip: str | None) -> bool:
    """Whether `ip` is an address of this machine. Loopback is nobody's in particular, and not ours."""
    try:
        address = ip_address(ip or "")
    except ValueError:
        return False
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        return False
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004 -- IPv6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _uuid(text: str) -> UUID | None:
    try:
        uuid = UUID(text)
    except ValueError:
        return None
    return uuid if uuid.int not in (0, (1 << 128) - 1) else None
