"""What arguments of new and changed guests may look like: typed, closed, checked before anything is asked."""

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, StrictStr

from mqtt_bridge.actions.row import Int
from mqtt_bridge.secret import Secret

GIB = 1024**3
_DNS = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)
_KEY = re.compile(
    r"(ssh-(rsa|dss|ed25519)|ecdsa-sha2-[a-z0-9-]+|sk-[a-z0-9@.-]+) [A-Za-z0-9+/]+={0,3}( [^\x00-\x1f\x7f]*)?"
)


def _named(pattern: re.Pattern[str] | str, what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"it must be {what}")
        return value

    return AfterValidator(check)


def _secret(value: object) -> object:
    return Secret(value) if isinstance(value, str) else value


def _password(value: Secret) -> Secret:
    text = value.reveal()
    if not 5 <= len(text) <= 256 or re.search(r"[\x00-\x1f\x7f]", text):  # noqa: PLR2004 -- Proxmox's own minimum
        raise ValueError("it must have 5 to 256 characters, none of them a control character")
    return value


def _address(version: Literal[4, 6], *words: str) -> AfterValidator:
    """One of the words, or an address with its prefix length."""

    def check(value: str) -> str:
        if value in words:
            return value
        try:
            found = ipaddress.ip_interface(value)
        except ValueError:
            found = None
        if found is None or found.version != version or "/" not in value or "%" in value:
            raise ValueError(f"it must be {', '.join(words)} or an IPv{version} address with its prefix length, as /24")
        return value

    return AfterValidator(check)


def _ip(version: Literal[4, 6] | None) -> AfterValidator:
    def check(value: str) -> str:
        try:
            found = ipaddress.ip_address(value)
        except ValueError:
            found = None
        if found is None or "%" in value or version not in (None, found.version):
            raise ValueError(f"it must be an IP{f'v{version}' if version else ''} address")
        return value

    return AfterValidator(check)


Name = Annotated[StrictStr, Field(max_length=253), _named(_DNS, "a DNS name: letters, digits, - and dots")]
NodeName = Annotated[
    StrictStr, Field(max_length=63), _named(r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?", "a node's name")
]
StorageName = Annotated[StrictStr, Field(max_length=100), _named(r"[A-Za-z][A-Za-z0-9._-]*", "a storage's name")]
PoolName = Annotated[StrictStr, Field(max_length=128), _named(r"[A-Za-z0-9._/-]+", "a pool's name")]
SnapshotName = Annotated[StrictStr, Field(max_length=40), _named(r"[A-Za-z][A-Za-z0-9_-]+", "a snapshot's name")]
Bridge = Annotated[StrictStr, Field(max_length=32), _named(r"[A-Za-z0-9._-]+", "a bridge's name")]
CpuType = Annotated[
    StrictStr, Field(max_length=64), _named(r"[A-Za-z0-9._+-]+", "a CPU type, as host or x86-64-v2-AES")
]
Device = Annotated[
    StrictStr, _named(r"(scsi|virtio|sata|ide|net|hostpci|usb)\d{1,2}", "a device that can boot, as scsi0 or net0")
]
User = Annotated[StrictStr, Field(max_length=64), _named(r"[A-Za-z_][A-Za-z0-9_.-]*", "a user's name")]
Tag = Annotated[
    StrictStr, Field(max_length=124), _named(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*", "letters, digits, _ - + and dots")
]
Tags = Annotated[tuple[Tag, ...], Field(max_length=100), AfterValidator(lambda given: tuple(dict.fromkeys(given)))]
SshKey = Annotated[StrictStr, Field(max_length=8192), _named(_KEY, "an OpenSSH public key: type, key, comment")]
SshKeys = Annotated[tuple[SshKey, ...], Field(max_length=50)]
Password = Annotated[Secret, BeforeValidator(_secret), AfterValidator(_password)]
Vlan = Annotated[Int, Field(ge=1, le=4094)]
Ipv4 = Annotated[StrictStr, _address(4, "dhcp")]
Ipv6 = Annotated[StrictStr, _address(6, "dhcp", "auto")]
Gateway4 = Annotated[StrictStr, _ip(4)]
Gateway6 = Annotated[StrictStr, _ip(6)]
Nameservers = Annotated[tuple[Annotated[StrictStr, _ip(None)], ...], Field(min_length=1, max_length=5)]
NewVmid = Annotated[Int, Field(ge=100, le=999_999_999)]
Cores = Annotated[Int, Field(ge=1, le=8192)]
Sockets = Annotated[Int, Field(ge=1, le=64)]
Memory = Annotated[Int, Field(ge=16, le=64 * 1024**2)]  # MiB
Swap = Annotated[Int, Field(ge=0, le=64 * 1024**2)]  # MiB
DiskSize = Annotated[Int, Field(ge=1, le=1024**2)]  # GiB
OsType = Literal["l26", "l24", "win11", "win10", "win8", "win7", "w2k8", "wvista", "wxp", "w2k3", "w2k", "solaris",
                 "other"]  # fmt: skip


def gateways(ip: str | None, gateway: str | None, what: str) -> None:
    """Raises ValueError for a gateway without a fixed address."""
    if gateway is not None and (ip is None or "/" not in ip):
        raise ValueError(f"{what} goes with a fixed address only")
