"""A guest's network interfaces, as it tells them itself at this moment."""

from typing import Any

from pydantic import Field

from mqtt_bridge.errors import BridgeError, RejectedError, UnreachableError
from mqtt_bridge.proxmox import rows
from proxmox_mcp.tools import asking, words
from proxmox_mcp.tools.base import Arguments, Call, NodeArgument, SiteArgument, Tool, Vmid
from proxmox_mcp.view import Answer

PATIENCE = 5.0  # seconds for a guest agent: one that hangs never answers
MOST = 64  # interfaces; a host of containers has hundreds


class AddressRequest(Arguments):
    """Of which guest."""

    vmid: Vmid
    node: NodeArgument = None
    site: SiteArgument = None


class Interface(asking.Part):
    """An interface inside the guest."""

    name: str
    mac: str | None
    addresses: tuple[str, ...]


class GuestIps(Answer):
    """Addresses of a running guest; names come from inside it."""

    site: str
    vmid: int
    name: str
    type: str
    node: str
    ips: tuple[str, ...] = Field(default=(), description="that others can reach: no loopback, no link-local")
    interfaces: tuple[Interface, ...] = ()

    def text(self) -> str:
        kind = "VM" if self.type == "qemu" else "CT"
        head = f"{kind} {self.vmid} ({self.name}): {', '.join(self.ips) or 'no address'}"
        body = words.table(
            ("interface", "mac", "addresses"), ((i.name, i.mac, " ".join(i.addresses)) for i in self.interfaces)
        )
        return words.answer(head, body if self.interfaces else "", self)


class NoAddressError(BridgeError):
    """The guest cannot be asked."""


async def get_guest_ips(call: Call, args: AddressRequest) -> GuestIps:
    """From the guest agent of a VM, from the node for a container."""
    place = await asking.guest(call, args.vmid, args.node, args.site)
    tail = ("agent", "network-get-interfaces") if place.type == "qemu" else ("interfaces",)
    try:
        place, answer = await asking.of_guest(call, place, *tail, deadline=PATIENCE)
    except (RejectedError, UnreachableError) as error:
        raise _why(place, error) from error
    if answer is None:
        raise _off(place)
    listed = answer.get("result") if isinstance(answer, dict) else answer
    shown = [_interface(row) for row in listed or () if isinstance(row, dict)]
    notes = [f"Only {MOST} of {len(shown)} interfaces are shown."] if len(shown) > MOST else []
    return GuestIps(
        **asking.now(call, *notes),
        site=place.site,
        vmid=place.vmid,
        name=place.name,
        type=place.type,
        node=place.node,
        ips=tuple(asking.clean(ip) for ip in rows.addresses(answer) or ())[:MOST],
        interfaces=tuple(shown[:MOST]),
    )


def _off(place: asking.Place) -> NoAddressError:
    return NoAddressError(f"{place.label} is not running, so it has no addresses.", cure="Start it first.")


def _why(place: asking.Place, error: RejectedError | UnreachableError) -> BridgeError:
    text = error.message
    if f"{place.vmid} is not running" in text:
        return _off(place)
    if "No QEMU guest agent configured" in text:
        return NoAddressError(
            f"{place.label} has no guest agent configured.",
            cure="Install qemu-guest-agent in it, set its option `agent: 1` and restart it.",
        )
    if place.type == "qemu" and ("agent" in text or not error.status):
        return NoAddressError(
            f"The guest agent of {place.label} did not answer within {PATIENCE:g} s.",
            cure="Is qemu-guest-agent running in it? get_network_info has the addresses last known.",
        )
    return error


def _interface(row: dict[str, Any]) -> Interface:
    listed = row.get("ip-addresses")
    if listed:
        found = [f"{a.get('ip-address')}/{a.get('prefix')}" for a in listed]
    else:
        found = [str(row[key]) for key in ("inet", "inet6") if row.get(key)]
    mac = row.get("hardware-address") or row.get("hwaddr")
    return Interface(
        name=asking.clean(row.get("name"), 64),
        mac=asking.clean(mac, 64) if mac else None,
        addresses=tuple(asking.clean(a, 64) for a in found[:MOST]),
    )


TOOLS = (
    Tool(
        "get_guest_ips",
        "A guest's addresses",
        "Network interfaces and addresses of a running guest, asked from it now (a VM needs its guest agent).",
        "guest",
        AddressRequest,
        GuestIps,
        get_guest_ips,
    ),
)
