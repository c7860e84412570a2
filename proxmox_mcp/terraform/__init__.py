"""Guests as they are, written as Terraform (or OpenTofu) for the provider bpg/proxmox, with blocks that import them.

Deterministic: the same guests give the same text. Passwords are never in it, and texts from outside are scrubbed.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from proxmox_mcp.terraform import container, vm
from proxmox_mcp.terraform.hcl import Block, Raw, document
from proxmox_mcp.terraform.source import Source

__all__ = ["Made", "Source", "generate"]

HEAD = """terraform {
  required_version = ">= 1.5"

  required_providers {
    proxmox = {
      source = "bpg/proxmox"
    }
  }
}
"""
MAKERS = {
    "qemu": (vm.vm, vm.RESOURCE, vm.SILENT, "name"),
    "lxc": (container.container, container.RESOURCE, container.SILENT, "hostname"),
}
_LABEL = 40  # characters of a guest's name in its resource's


@dataclass(frozen=True)
class Made:
    """The text, the addresses of its resources, and per address the settings that the provider cannot be told."""

    hcl: str
    addresses: tuple[str, ...]
    left_out: dict[str, tuple[str, ...]]


def generate(sources: Iterable[Source]) -> Made:
    """One file for guests of one site."""
    blocks: list[tuple[tuple[str, ...], Block]] = []
    left_out: dict[str, tuple[str, ...]] = {}
    addresses = []
    for source in sorted(sources, key=lambda each: each.vmid):
        make, resource, silent, name = MAKERS[source.type]
        label = _label(source, name)
        address = f"{resource}.{label}"
        block = make(source, label)
        missing = tuple(sorted(key for key in source.config if key not in source.used | silent))
        if missing:
            left_out[address] = missing
        came = Block("import", (("to", Raw(address)), ("id", f"{source.node}/{source.vmid}")))
        blocks += [((), came), (_comments(source, missing), block)]
        addresses.append(address)
    return Made(f"{HEAD}\n{document(blocks)}" if blocks else HEAD, tuple(addresses), left_out)


def _label(source: Source, key: str) -> str:
    """Letters, digits and underscores, with the VMID at its end: never the same for two."""
    name = re.sub(r"[^a-z0-9]+", "_", str(source.config.get(key, "")).lower())[:_LABEL].strip("_")
    kind = "vm" if source.type == "qemu" else "ct"
    return f"{name}_{source.vmid}" if name[:1].isalpha() else f"{kind}_{name}_{source.vmid}".replace("__", "_")


def _comments(source: Source, missing: tuple[str, ...]) -> tuple[str, ...]:
    """What somebody who applies it must know."""
    said = []
    safe = [key for key in missing if re.fullmatch(r"[a-z][a-z0-9_-]*", key)]
    if safe:
        said.append(f"Not here, since the provider has no place for it or only root may set it: {', '.join(safe)}.")
    if source.config.get("cipassword"):
        said.append("Its cloud-init password is not here.")
    return tuple(said)
