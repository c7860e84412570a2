"""What a step really touches, read out of its path and its parameters without asking who wrote it.

Everything in a step that names a node, storage, pool, datastore, web host or guest of the world counts, whatever the
parameter is called: an action that is added tomorrow is read as well.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from mqtt_bridge.actions import Plan, Step
from mqtt_bridge.secret import Secret
from mqtt_bridge.targets import (
    BackupTarget,
    DatastoreTarget,
    GuestTarget,
    NewGuest,
    Role,
    StorageTarget,
    Touched,
    WebTarget,
)
from proxmox_mcp.lab import apitable
from tests.control.world import World

FREE_TEXT = frozenset({"description", "notes-template", "name", "hostname", "tags", "snapname", "digest", "filename"})
NUMBERS = frozenset(
    {"cores", "sockets", "memory", "balloon", "swap", "timeout", "max-workers", "backup-time", "checksum", "size",
     "cpulimit", "target-digest"}
)  # fmt: skip
_TOKEN = re.compile(r"[,=:;/\s]+")
_OWNED = re.compile(r"(?:vm|base|subvol|basevol)-(\d+)-|vzdump-(?:qemu|lxc)-(\d+)-")


@dataclass(frozen=True)
class Thing:
    """`kind`: node, storage, pool, store, host or guest."""

    kind: str
    name: str


def things(step: Step, world: World, new: frozenset[int]) -> Iterator[Thing]:
    """All that one step names; `new` are ids that will be guests."""
    for segment in step.segments:
        yield from _named(str(segment), world, new)
    for key, value in step.params.items():
        if key in FREE_TEXT or isinstance(value, Secret) or key in step.hidden:
            continue
        if key == "url":
            yield Thing("host", str(urlsplit(str(value)).hostname))
        elif key not in NUMBERS:
            yield from _named(str(value), world, new)


def _named(text: str, world: World, new: frozenset[int]) -> Iterator[Thing]:
    known = {"node": world.nodes, "storage": world.storages, "pool": world.pools, "store": world.stores}
    for token in _TOKEN.split(text):
        yield from (Thing(kind, token) for kind, names in known.items() if token in names)
        if token.isdigit() and int(token) in world.vmids | new:
            yield Thing("guest", token)
    for owner in _OWNED.finditer(text):
        yield Thing("guest", owner[1] or owner[2])


def declared(objects: tuple[Touched, ...]) -> set[Thing]:
    """All that a plan says it touches."""
    found = {Thing("node", one.target.node) for one in objects if one.target.node}
    for target in (one.target for one in objects):
        match target:
            case GuestTarget() | NewGuest():
                found |= {Thing("guest", str(target.vmid))} | ({Thing("pool", target.pool)} if target.pool else set())
            case BackupTarget(vmid=int()):
                found.add(Thing("guest", str(target.vmid)))
            case StorageTarget():
                found |= {Thing("storage", target.storage)}
            case DatastoreTarget():
                found |= {Thing("store", target.store)}
            case WebTarget():
                found |= {Thing("host", target.host)}
    return found


# --- how it is touched -----------------------------------------------------------------------------------------------

_GUEST = "/nodes/{node}/(qemu|lxc)/{vmid}"
NEEDS: tuple[tuple[str, str, frozenset[Role]], ...] = (
    ("DELETE", _GUEST, frozenset({"destroy"})),
    ("POST", f"{_GUEST}/snapshot/{{snapname}}/rollback", frozenset({"destroy"})),
    ("POST", f"{_GUEST}/template", frozenset({"write", "destroy"})),
    ("POST", f"{_GUEST}/clone", frozenset({"read", "write"})),
    ("POST|PUT|DELETE", f"{_GUEST}(/.*)?", frozenset({"write", "destroy", "create"})),
    ("POST", "/nodes/{node}/(qemu|lxc)", frozenset({"create"})),
    ("POST", "/nodes/{node}/(startall|stopall)", frozenset({"write"})),
    ("POST", "/nodes/{node}/vzdump", frozenset({"read", "write"})),
    ("DELETE", "/nodes/{node}/storage/{storage}/content/{volume}", frozenset({"destroy"})),
    ("DELETE", "/admin/datastore/{store}/snapshots", frozenset({"destroy"})),
)
ROLES_OF: Mapping[str, frozenset[Role]] = {"newid": frozenset({"create"}), "target-vmid": frozenset({"write"})}
DESTROYS: frozenset[Role] = frozenset({"destroy"})  # a volume that is deleted from `unused`


def roles(step: Step, kind: apitable.Kind) -> Iterator[tuple[str, frozenset[Role]]]:
    """Guests that a step names where the API has a place for them, each with the roles that fit."""
    found = apitable.match(kind, step.path)
    if found is None:
        raise AssertionError(step.path)
    fitting = (fits for verbs, path, fits in NEEDS if re.fullmatch(verbs, step.method) and _fits(path, found.path))
    needed = DESTROYS if "unused" in str(step.params.get("delete", "")) else next(fitting, None)
    if needed is None:
        return
    ids = [str({**found.values, **step.params}.get(key, "")) for key in ("vmid", "backup-id")]
    ids += str(step.params.get("vms", "")).split(",")
    ids += [owner[1] or owner[2] for owner in _OWNED.finditer(found.values.get("volume", ""))]
    yield from ((one, needed) for one in ids if one.isdigit())
    yield from ((str(step.params[key]), fits) for key, fits in ROLES_OF.items() if key in step.params)


def _fits(path: str, template: str) -> bool:
    pattern = re.sub(r"\{\w+\}", lambda found: re.escape(found[0]), path)
    return re.fullmatch(pattern, template) is not None


def held(plan: Plan, vmid: str) -> set[Role]:
    """The roles in which a plan says that it touches a guest, or what there is of it."""
    return {
        one.role
        for one in plan.objects
        if isinstance(one.target, GuestTarget | NewGuest | BackupTarget) and str(one.target.vmid) == vmid
    }
