"""What a guest's resource is made from, and the pieces that VMs and containers share."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from mqtt_bridge.actions.hardware import GIB, size_of
from mqtt_bridge.actions.property_string import HEAD, parse
from mqtt_bridge.redact import redact_text
from proxmox_mcp.terraform.hcl import Block, Value

KEY = re.compile(r"(ssh-(rsa|dss|ed25519)|ecdsa-sha2-\S+|sk-\S+@openssh\.com) [A-Za-z0-9+/=]{16,}( [^\r\n]*)?")
Attributes = tuple[tuple[str, Value], ...]


@dataclass(frozen=True)
class Source:
    """A guest as Proxmox has it. What is asked for is noted: the rest is told to be left out."""

    vmid: int
    type: str
    node: str
    config: Mapping[str, Any]
    running: bool = False
    pool: str = ""
    used: set[str] = field(default_factory=set)

    def text(self, key: str) -> str | None:
        """A setting without secrets in it; None if it is not set."""
        self.used.add(key)
        value = self.config.get(key)
        return None if value in {None, ""} else redact_text(str(value))

    def number(self, key: str) -> int | float | None:
        """A whole number where it is one."""
        return number(self.text(key))

    def flag(self, key: str) -> bool | None:
        """A yes or no."""
        return flag(self.text(key))

    def fields(self, key: str) -> dict[str, str]:
        """The fields of a property string; empty if it is not set."""
        return parse(self.text(key) or "")

    def numbered(self, *prefixes: str) -> list[str]:
        """The keys `net0`, `net1`, … that are set, in their order."""
        found = [key for key in self.config if (m := re.fullmatch(r"([a-z]+)\d+", key)) and m[1] in prefixes]
        self.used.update(found)
        return sorted(found, key=lambda key: (prefixes.index(key.rstrip("0123456789")), int(re.sub(r"\D", "", key))))

    def words(self, key: str) -> list[str] | None:
        """A list, whatever stands between its parts."""
        found = [each for each in re.split(r"[;,\s]+", self.text(key) or "") if each]
        return found or None


def number(text: str | None) -> int | float | None:
    """None for what is none."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return int(value) if value.is_integer() else value


def flag(text: str | None) -> bool | None:
    """Proxmox's yes and no."""
    return None if text is None else text.casefold() in {"1", "on", "yes", "true"}


def gigabytes(text: str | None) -> int | None:
    """Whole GiB, as the provider counts; a part of one counts as one."""
    size = size_of(text or "")
    return None if size is None else -(-size // GIB)


def fit(fields: Mapping[str, str], rows: tuple[tuple[str, str, Callable[[str | None], Value]], ...]) -> Attributes:
    """Attributes from fields: (attribute, field, how to read it)."""
    return tuple((name, read(fields[key])) for name, key, read in rows if fields.get(key))


def plain(text: str | None) -> str | None:
    """As it is."""
    return text


def halves(text: str | None) -> list[str] | None:
    """What semicolons separate."""
    return text.split(";") if text else None


def some(kind: str, attributes: Attributes, *blocks: Block) -> tuple[Block, ...]:
    """The block, if anything stands in it."""
    block = Block(kind, attributes, blocks)
    return () if block.is_empty else (block,)


def startup(source: Source) -> tuple[Block, ...]:
    """`order=1,up=30,down=60`."""
    rows = (("order", "order", number), ("up_delay", "up", number), ("down_delay", "down", number))
    fields = source.fields("startup")
    return some("startup", fit({**fields, "order": fields.get("order", fields.get(HEAD, ""))}, rows))


def dns(source: Source) -> tuple[Block, ...]:
    """Name servers and search domain."""
    return some("dns", (("domain", source.text("searchdomain")), ("servers", source.words("nameserver"))))


def ip_config(fields: Mapping[str, str]) -> Block:
    """Addresses of one interface; one that has none keeps its place."""
    return Block(
        "ip_config",
        (),
        (
            *some("ipv4", fit(fields, (("address", "ip", plain), ("gateway", "gw", plain)))),
            *some("ipv6", fit(fields, (("address", "ip6", plain), ("gateway", "gw6", plain)))),
        ),
    )


def public_keys(source: Source) -> list[str] | None:
    """The public SSH keys of cloud-init, which Proxmox keeps URL-encoded; anything else there is left out."""
    lines = unquote(str(source.config.get("sshkeys", ""))).splitlines()
    source.used.add("sshkeys")
    return [line.strip() for line in lines if KEY.fullmatch(line.strip())] or None
