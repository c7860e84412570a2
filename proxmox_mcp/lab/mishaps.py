"""What can go wrong, one function each; `faults` is the table of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import build, power, resources
from .state import HaResource
from .world import ha_sid

if TYPE_CHECKING:
    from collections.abc import Callable

    from .access import Access, Token
    from .lab import Lab
    from .server import Host
    from .state import Disk, Guest, Node

    Inject = Callable[[Lab, list[str]], str]


class FaultError(ValueError):
    """A fault that does not exist or that was told wrong; the text says what would be right."""


def find_guest(lab: Lab, vmid: str) -> Guest:
    if not vmid.isdigit() or int(vmid) not in lab.world.guests:
        raise FaultError(f"no guest {vmid} in this lab")
    return lab.world.guests[int(vmid)]


def find_node(lab: Lab, name: str) -> Node:
    if name not in lab.world.nodes:
        raise FaultError(f"no node {name}; there are {', '.join(lab.world.nodes)}")
    return lab.world.nodes[name]


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise FaultError(f"{text!r} is not a number") from error


def guest_crash(lab: Lab, args: list[str]) -> str:
    guest = find_guest(lab, args[0])
    power.turn_off(lab.world, guest)
    return f"guest {guest.vmid} ({guest.name}) has died"


def guest_lock(lab: Lab, args: list[str]) -> str:
    guest = find_guest(lab, args[0])
    guest.lock = args[1]
    return f"guest {guest.vmid} is locked ({args[1]})"


def guest_unlock(lab: Lab, args: list[str]) -> str:
    guest = find_guest(lab, args[0])
    guest.lock = ""
    return f"guest {guest.vmid} is unlocked"


def guest_pause(lab: Lab, args: list[str]) -> str:
    guest = find_guest(lab, args[0])
    guest.paused = guest.running
    return f"guest {guest.vmid} is paused"


def agent_dead(lab: Lab, args: list[str]) -> str:
    guest = find_guest(lab, args[0])
    guest.agent_dead = not guest.agent_dead
    return f"the agent of guest {guest.vmid} is {'dead' if guest.agent_dead else 'alive'}"


def guest_deaf(lab: Lab, args: list[str]) -> str:
    guest = find_guest(lab, args[0])
    guest.deaf = not guest.deaf
    return f"guest {guest.vmid} {'ignores' if guest.deaf else 'hears'} shutdowns"


def guest_destroy(lab: Lab, args: list[str]) -> str:
    """Destroy with a task, as an admin would in the web interface."""
    guest = find_guest(lab, args[0])

    async def work(task: object) -> None:
        del task
        power.turn_off(lab.world, guest)
        lab.world.remove_guest(guest)

    kind = "qmdestroy" if guest.kind == "qemu" else "vzdestroy"
    lab.world.tasks.start(guest.node, kind, str(guest.vmid), build.ROOT_SELF, work)
    return f"guest {guest.vmid} is being destroyed"


def guest_create(lab: Lab, args: list[str]) -> str:
    world = lab.world
    kind = "lxc" if args and args[0] == "lxc" else "qemu"
    node = next(node.name for node in world.nodes.values() if node.online)
    vmid = world.next_vmid()
    storage = next(one for one in world.storages.values() if "images" in one.content and not one.disabled)
    guest = build.add_guest(
        world, vmid=vmid, kind="lxc" if kind == "lxc" else "qemu", name=f"new-{vmid}", node=node, storage=storage,
        cores=2, memory=2048, disk=16,
    )  # fmt: skip
    resources.newborn(world, guest)

    async def work(task: object) -> None:
        del task

    world.tasks.start(node, f"{'qm' if kind == 'qemu' else 'vz'}create", str(vmid), build.ROOT_SELF, work)
    return f"guest {vmid} created on {node}"


def guest_migrate(lab: Lab, args: list[str]) -> str:
    guest, node = find_guest(lab, args[0]), find_node(lab, args[1])
    resources.settle(lab.world, guest)
    guest.node, guest.report_tick = node.name, -1
    lab.world.moved(guest)
    return f"guest {guest.vmid} is on {node.name}"


def node_down(lab: Lab, args: list[str]) -> str:
    lab.world.power_node(find_node(lab, args[0]), up=False)
    return f"node {args[0]} is down"


def node_up(lab: Lab, args: list[str]) -> str:
    node = find_node(lab, args[0])
    node.hanging = False
    lab.world.power_node(node, up=True)
    return f"node {args[0]} is up"


def node_hang(lab: Lab, args: list[str]) -> str:
    node = find_node(lab, args[0])
    node.hanging = args[1:] != ["off"]
    return f"node {args[0]} {'hangs' if node.hanging else 'answers'}"


def daemon_down(lab: Lab, args: list[str]) -> str:
    find_node(lab, args[0]).daemon_down = True
    return f"pvedaemon on {args[0]} is down"


def daemon_up(lab: Lab, args: list[str]) -> str:
    find_node(lab, args[0]).daemon_down = False
    return f"pvedaemon on {args[0]} is up"


def quorum_loss(lab: Lab, _args: list[str]) -> str:
    lab.world.set_quorate(False)
    return "the cluster has lost its quorum"


def quorum_back(lab: Lab, _args: list[str]) -> str:
    lab.world.count_votes()
    return f"the cluster is {'quorate' if lab.world.quorate else 'still without quorum: too few nodes'}"


def ha_state(lab: Lab, args: list[str]) -> str:
    guest = find_guest(lab, args[0])
    sid = ha_sid(guest)
    lab.world.ha.setdefault(sid, HaResource(sid)).crm_state = args[1]
    guest.entry = ""
    return f"HA resource {sid} is {args[1]}"


def node_ha(lab: Lab, args: list[str]) -> str:
    node = find_node(lab, args[0])
    node.ha_state = "" if args[1] == "online" else args[1]
    return f"the HA manager thinks that {node.name} is {args[1]}"


def cluster_log(lab: Lab, args: list[str]) -> str:
    node, priority = find_node(lab, args[0]), int(_number(args[1]))
    lab.world.write_log(node, "root@pam", args[2], " ".join(args[3:]) or "something is wrong", pri=priority)
    return f"{node.name} has logged that"


def certificate_ends(lab: Lab, args: list[str]) -> str:
    node = find_node(lab, args[0])
    node.certificate_days = _number(args[1])
    return f"the certificate of {node.name} ends in {args[1]} days"


def storage_fill(lab: Lab, args: list[str]) -> str:
    """Works for datastores of backup servers, too."""
    share = _number(args[1].rstrip("%")) / 100
    targets = [one for name, one in lab.world.storages.items() if name == args[0]]
    stores = [store for host in lab.world.pbs.values() for name, store in host.datastores.items() if name == args[0]]
    for target in targets:
        target.filled = share
    for store in stores:
        store.filled = share
    if not targets and not stores:
        raise FaultError(f"no storage {args[0]}; there are {', '.join(lab.world.storages)}")
    return f"storage {args[0]} is {share:.0%} full"


def storage_offline(lab: Lab, args: list[str]) -> str:
    storage = lab.world.storages.get(args[0])
    if storage is None:
        raise FaultError(f"no storage {args[0]}; there are {', '.join(lab.world.storages)}")
    storage.offline_on.add(find_node(lab, args[1]).name if args[1:] else "")
    storage.offline_since = lab.world.now()
    for node in lab.world.nodes.values():
        if storage.serves(node.name) and not storage.active(node.name):
            lab.world.say(node.name, "pvestatd", f"storage '{storage.name}' is not online", pri=3)
    return f"storage {args[0]} is offline on {args[1] if args[1:] else 'all nodes'}"


def storage_online(lab: Lab, args: list[str]) -> str:
    storage = lab.world.storages.get(args[0])
    if storage is None:
        raise FaultError(f"no storage {args[0]}; there are {', '.join(lab.world.storages)}")
    storage.offline_on.clear()
    return f"storage {args[0]} is online"


def backup_fail(lab: Lab, args: list[str]) -> str:
    lab.world.backup_fails.add(find_guest(lab, args[0]).vmid)
    return f"the next backup of guest {args[0]} fails"


def task_fail(lab: Lab, args: list[str]) -> str:
    text = " ".join(args[1:]) or "command failed: exit code 1"
    lab.world.tasks.fail_next[args[0]] = text
    for server in lab.world.pbs.values():
        server.tasks.fail_next[args[0]] = text
    return f"the next task of type {args[0]} fails"


def task_warn(lab: Lab, args: list[str]) -> str:
    for tasks in (lab.world.tasks, *(server.tasks for server in lab.world.pbs.values())):
        tasks.warn_next.add(args[0])
    return f"the next task of type {args[0]} ends with a warning"


def find_disk(lab: Lab, args: list[str]) -> tuple[Node, Disk]:
    """Find `NODE [DEVICE]`; default: the node's last disk."""
    node = find_node(lab, args[0])
    if not node.disks:
        raise FaultError(f"node {args[0]} has no disks")
    path = args[1] if args[1:] else node.disks[-1].devpath
    for disk in node.disks:
        if disk.devpath == path:
            return node, disk
    raise FaultError(f"no disk {path} in {args[0]}; there are {', '.join(one.devpath for one in node.disks)}")


def find_host(lab: Lab, name: str) -> Host:
    host = (lab.hosts | lab.pbs_hosts).get(name)
    if host is None:
        raise FaultError(f"no host {name}; there are {', '.join(lab.hosts | lab.pbs_hosts)}")
    return host


def host_down(lab: Lab, args: list[str]) -> str:
    host = find_host(lab, args[0])
    if args[0] in lab.world.nodes:
        lab.world.nodes[args[0]].api_down = True
    lab.chore(host.down())
    return f"the API server of {args[0]} refuses connections"


def host_up(lab: Lab, args: list[str]) -> str:
    host = find_host(lab, args[0])
    if args[0] in lab.world.nodes:
        lab.world.nodes[args[0]].api_down = False
    lab.chore(host.up())
    return f"the API server of {args[0]} listens"


def api_latency(lab: Lab, args: list[str]) -> str:
    lab.gate.latency = _number(args[0]) / 1000
    return f"every answer takes {args[0]} ms more"


def api_error(lab: Lab, args: list[str]) -> str:
    lab.gate.error = int(_number(args[0]))
    return f"every request is answered {args[0]}" if lab.gate.error else "requests are answered again"


def api_hang(lab: Lab, args: list[str]) -> str:
    lab.gate.hanging = args != ["off"]
    return "no request is answered" if lab.gate.hanging else "requests are answered again"


def _tokens(lab: Lab, args: list[str]) -> list[tuple[Access, Token]]:
    """Find a token by `user!name` or `name`, everywhere; default: the one of the settings, `root@pam!full`."""
    wanted = args[0] if args else "root@pam!full"
    every = [lab.world.access, *(server.access for server in lab.world.pbs.values())]
    found = [
        (access, token) for access in every for token in access.tokens.values() if wanted in (token.full, token.name)
    ]
    if not found:
        raise FaultError(f"no token {wanted}; there are {', '.join(lab.world.access.tokens)}")
    return found


def _mark(lab: Lab, args: list[str], attribute: str, value: bool) -> str:
    tokens = _tokens(lab, args)
    for access, token in tokens:
        setattr(token, attribute, value)
        access.forget()
    return ", ".join(sorted({token.full for _, token in tokens}))


def token_revoke(lab: Lab, args: list[str]) -> str:
    return f"{_mark(lab, args, 'revoked', value=True)}: revoked, logins fail"


def token_restore(lab: Lab, args: list[str]) -> str:
    return f"{_mark(lab, args, 'revoked', value=False)}: valid again"


def token_strip(lab: Lab, args: list[str]) -> str:
    return f"{_mark(lab, args, 'stripped', value=True)}: without any right, lists turn empty"


def token_unstrip(lab: Lab, args: list[str]) -> str:
    return f"{_mark(lab, args, 'stripped', value=False)}: has its rights again"


def clock_forward(lab: Lab, args: list[str]) -> str:
    lab.world.clock.advance(_number(args[0]))
    return f"the lab's clock is {args[0]} s ahead"
