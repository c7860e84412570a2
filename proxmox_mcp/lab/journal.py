"""What the daemons of simulated hosts write into the journal about guests, nodes and the quorum: rows of lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .state import Guest, Node
    from .world import World

NOTICE, WARNING, CRITICAL = 5, 4, 2


class Line(NamedTuple):
    tag: str
    text: str
    """With `{…}` for what it is about."""
    pri: int = 6


_PORT = "vmbr0: port {port}({card}) entered {state} state"
_POWER: dict[tuple[str, bool], tuple[Line, ...]] = {
    ("qemu", True): (
        Line("systemd", "Started {vmid}.scope."),
        Line("kernel", "{card}: entered promiscuous mode"),
        Line("kernel", _PORT.replace("{state}", "forwarding")),
    ),
    ("qemu", False): (
        Line("kernel", _PORT.replace("{state}", "disabled")),
        Line("qmeventd", "Starting cleanup for {vmid}"),
        Line("qmeventd", "Finished cleanup for {vmid}"),
        Line("systemd", "{vmid}.scope: Deactivated successfully."),
    ),
    ("lxc", True): (
        Line("systemd", "Started pve-container@{vmid}.service - PVE LXC Container: {vmid}."),
        Line("kernel", _PORT.replace("{state}", "forwarding")),
    ),
    ("lxc", False): (
        Line("kernel", _PORT.replace("{state}", "disabled")),
        Line("systemd", "pve-container@{vmid}.service: Deactivated successfully."),
    ),
}
_LOST = (
    Line("corosync", "  [KNET  ] link: host: {nodeid} link: 0 is down"),
    Line("corosync", "  [KNET  ] host: host: {nodeid} has no active links", WARNING),
    Line("corosync", "  [TOTEM ] Token has not been received in 2737 ms "),
    Line(
        "corosync",
        "  [TOTEM ] A processor failed, forming new configuration: "
        "token timed out (3650ms), waiting 4380ms for consensus.",
        NOTICE,
    ),
    Line("corosync", "  [QUORUM] Members[{count}]: {ids}", NOTICE),
    Line("pmxcfs", "[dcdb] notice: members: {members}", NOTICE),
    Line("pmxcfs", "[status] notice: members: {members}", NOTICE),
)
_BACK = (
    Line("corosync", "  [KNET  ] rx: host: {nodeid} link: 0 is up"),
    Line("corosync", "  [QUORUM] Members[{count}]: {ids}", NOTICE),
    Line("pmxcfs", "[dcdb] notice: members: {members}", NOTICE),
    Line("pmxcfs", "[status] notice: members: {members}", NOTICE),
)
_QUORUM = {
    True: (
        Line("corosync", "  [QUORUM] This node is within the primary component and will provide service.", NOTICE),
        Line("pmxcfs", "[status] notice: node has quorum", NOTICE),
    ),
    False: (
        Line(
            "corosync",
            "  [QUORUM] This node is within the non-primary component and will NOT provide any services.",
            NOTICE,
        ),
        Line("pmxcfs", "[status] notice: node lost quorum", NOTICE),
        Line("pmxcfs", "[dcdb] crit: received write while not quorate - trigger resync", CRITICAL),
    ),
}
_FENCE = {
    False: (Line("pve-ha-crm", "node '{node}': state changed from 'unknown' => 'fence'"),),
    True: (
        Line("pve-ha-crm", "fencing: acknowledged - got agent lock for node '{node}'"),
        Line("pve-ha-crm", "node '{node}': state changed from 'fence' => 'unknown'"),
    ),
}


def power(world: World, guest: Guest, *, up: bool) -> None:
    card = f"{'tap' if guest.kind == 'qemu' else 'veth'}{guest.vmid}i0"
    _write(world, guest.node, _POWER[guest.kind, up], vmid=guest.vmid, card=card, port=guest.vmid % 90 + 2)


def member(world: World, node: Node, *, up: bool) -> None:
    """Let those that are still there tell of a node that left or came back."""
    there = [one for one in world.nodes.values() if one.online]
    facts = {
        "nodeid": node.nodeid,
        "count": len(there),
        "ids": " ".join(str(one.nodeid) for one in there),
        "members": ", ".join(f"{one.nodeid}/{900 + one.nodeid}" for one in there),
    }
    for one in there if not world.standalone else ():
        if one is not node:
            _write(world, one.name, _BACK if up else _LOST, **facts)


def quorum(world: World) -> None:
    for one in world.nodes.values() if not world.standalone else ():
        if one.online:
            _write(world, one.name, _QUORUM[world.quorate])


def fence(world: World, node: Node, master: str, *, done: bool) -> None:
    _write(world, master, _FENCE[done], node=node.name)


def _write(world: World, host: str, lines: tuple[Line, ...], **facts: object) -> None:
    for line in lines:
        world.say(host, line.tag, line.text.format(**facts), pri=line.pri)
