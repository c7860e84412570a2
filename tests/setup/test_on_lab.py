"""The printed lines, run as root on the lab's hosts, make a token with which what is permitted works, and no more."""

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from mqtt_bridge.actions import ACTIONS, Actions, migrate, power
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.errors import ForbiddenError
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.proxmox.permissions import PBS_NEEDS, PVE_NEEDS
from mqtt_bridge.proxmox.privileges import alternatives
from mqtt_bridge.settings import LEVELS, Level, PermissionSettings, Settings, allows, load
from mqtt_bridge.targets import DatastoreRef, GuestRef, NodeRef, Ref, StorageRef
from mqtt_bridge.whoami import Identity
from proxmox_mcp import cli
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import private_poller
from proxmox_mcp.setup.lines import VALUE
from proxmox_mcp.state import State
from proxmox_mcp.tools.permissions import READS
from tests.support.asking import ask
from tests.support.held import held
from tests.support.root_shell import RootShell, env_lines, shell_lines
from tests.support.watched import fast

BEFORE = {"snapshot.create", "disk.add", "vm.create", "lxc.create"}  # make what is destroyed afterwards
ANYTHING = PermissionSettings(
    mcp_allow="exec", approval_required=frozenset(), image_url_allowlist=frozenset({"cloud.debian.org"})
)
ROOT = Principal("tester", "stdio", "exec")
VM, CT, STOPPED_VM, TEMPLATE = 100, 109, 121, 9000
TAR = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"


@dataclass(frozen=True)
class Order:
    """An order that works on the lab for somebody who may do all."""

    target: Ref
    args: Mapping[str, Any] = field(default_factory=dict)


ORDERS: Mapping[str, Order] = {
    "guest.exec": Order(GuestRef(VM), {"argv": ["uname", "-a"]}),
    "guest.start": Order(GuestRef(STOPPED_VM)),
    "guest.shutdown": Order(GuestRef(STOPPED_VM)),
    "guest.suspend": Order(GuestRef(VM)),
    "guest.resume": Order(GuestRef(VM)),
    "guest.hibernate": Order(GuestRef(103)),
    "guest.reboot": Order(GuestRef(VM)),
    "guest.restart": Order(GuestRef(VM)),
    "node.startall": Order(NodeRef("pve1"), {"vmids": [VM]}),
    "snapshot.create": Order(GuestRef(VM), {"name": "before"}),
    "backup.create": Order(GuestRef(VM), {"storage": "nas"}),
    "datastore.verify": Order(DatastoreRef("main")),
    "datastore.sync": Order(DatastoreRef("archive"), {"job_id": "s-offsite"}),
    "guest.reset": Order(GuestRef(VM)),
    "guest.update": Order(GuestRef(VM), {"name": "renamed", "cores": 3, "memory": 1024, "description": "x"}),
    "disk.add": Order(GuestRef(VM), {"storage": "local-lvm", "size_gb": 1}),
    "disk.resize": Order(GuestRef(VM), {"disk": "scsi0", "size": "+1G"}),
    "network.set": Order(GuestRef(VM), {"interface": "net1", "bridge": "vmbr0"}),
    "network.remove": Order(GuestRef(VM), {"interface": "net1"}),
    "vm.create": Order(
        NodeRef("pve1"), {"vmid": 901, "name": "new", "cores": 2, "storage": "local-lvm", "uefi": True, "agent": True}
    ),
    "lxc.create": Order(NodeRef("pve1"), {"vmid": 902, "template": TAR, "name": "box", "storage": "local-lvm"}),
    "guest.clone": Order(GuestRef(TEMPLATE), {"newid": 903, "name": "twin"}),
    "guest.cloudinit": Order(GuestRef(STOPPED_VM), {"user": "bob", "storage": "local-lvm"}),
    "image.download": Order(
        StorageRef("nas"), {"url": "https://cloud.debian.org/x.iso", "checksum": "sha256:" + "a" * 64, "content": "iso"}
    ),
    "guest.stop": Order(GuestRef(VM)),
    "disk.remove": Order(GuestRef(VM), {"disk": "scsi1"}),
    "snapshot.rollback": Order(GuestRef(VM), {"name": "before"}),
    "snapshot.delete": Order(GuestRef(VM), {"name": "before"}),
    "node.stopall": Order(NodeRef("pve1"), {"vmids": [VM]}),
    "datastore.prune": Order(DatastoreRef("main"), {"keep_last": 2}),
    "datastore.gc": Order(DatastoreRef("main")),
    "guest.delete": Order(GuestRef(901)),
    "guest.template": Order(GuestRef(902)),
    "node.reboot": Order(NodeRef("pve3")),
}  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "PACE", 0.02)
    monkeypatch.setattr(migrate, "PACE", 0.05)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    options = LabOptions(speed=200, pvestatd_interval=0, auth_delay=0.05, dead_node_delay=0.05)
    async with Lab(options) as running:
        yield running
        assert running.violations == [], "a request that is not in Proxmox's schema"


@dataclass
class Made:
    """A token that was made by the printed lines."""

    settings: Settings
    clients: dict[str, ProxmoxClient]
    actions: Actions
    printed: dict[str, dict[str, set[str]]]  # privileges by kind and path, with those that roles bring besides
    chosen: dict[str, dict[str, set[str]]]  # without them


def _print(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert cli.main(["setup", "token", *words]) == 0
    return capsys.readouterr().out


@asynccontextmanager
async def made(
    lab: Lab, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> AsyncIterator[Made]:
    """The settings know the hosts, not the token; the lines are run, and their values pasted as they say."""
    hosts = {key: value for key, value in lab.env.items() if not key.endswith(("_USER", "_TOKEN_NAME", "_TOKEN_VALUE"))}
    monkeypatch.chdir(folder)
    for key, value in {**hosts, "IMAGE_URL_ALLOWLIST": "cloud.debian.org", "MCP_TOOLSETS": "all"}.items():
        monkeypatch.setenv(key, value)
    text = await _in_thread(capsys, *words)
    grants = json.loads(await _in_thread(capsys, *words, "--json"))
    shell = RootShell(lab)
    await shell.run(shell_lines(text))
    pasted = env_lines(text)
    for key, value in pasted.items():
        if value == VALUE:
            prefix = key.removesuffix("TOKEN_VALUE")
            pasted[key] = shell.printed[f"{pasted[f'{prefix}USER']}!{pasted[f'{prefix}TOKEN_NAME']}"]
    settings = fast(load({**hosts, **pasted, "STATE_DIR": str(folder / "state"), "MCP_TOOLSETS": "all"}, search=False))
    settings = dataclasses.replace(settings, permission=ANYTHING)
    async with AsyncExitStack() as stack:
        clients = {s.slug: await stack.enter_async_context(ProxmoxClient(s, settings.api)) for s in settings.sites}
        actions = Actions(clients, ANYTHING, Audit(settings.general.state_dir), me=Identity())
        printed = {one["kind"]: {g["path"]: {*g["privileges"], *g["besides"]} for g in one["grants"]} for one in grants}
        chosen = {one["kind"]: {g["path"]: set(g["privileges"]) for g in one["grants"]} for one in grants}
        yield Made(settings, clients, actions, printed, chosen)


async def _in_thread(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    return await asyncio.to_thread(_print, capsys, *words)


@asynccontextmanager
async def client_of(token: Made) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(
            State(None, lambda: private_poller(token.settings), sites=[s.slug for s in token.settings.sites], wait=10)
        )
        server = build_server(token.settings, state, token.actions, token.clients)
        yield await stack.enter_async_context(held(Client(server)))


def _wanted(kind: str, level: Level) -> list[tuple[str, str]]:
    """Path and alternatives of all that the bridge, the reads and the permitted actions need, from their own rows."""
    rows = [row for row in ACTIONS.values() if row.kind == kind and allows(level, row.risk)]
    found = [(p.path.partition("/{")[0] or "/", p.name) for row in rows for p in row.privileges]
    found += [(row.path, row.privilege) for row in READS if row.kind == kind]
    found += [(need.path, need.privilege) for need in (PVE_NEEDS if kind == "pve" else PBS_NEEDS)]
    return [*found, ("/", "Sys.Syslog")]


@pytest.mark.parametrize("level", LEVELS)
async def test_what_a_level_permits_works(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    async with made(lab, tmp_path, capsys, monkeypatch, "--level", level) as token:
        for name, order in ORDERS.items():
            if ACTIONS[name].risk == level or (level == "destroy" and name in BEFORE):
                done = await token.actions.perform(ROOT, name, order.target, args=order.args, timeout=60)
                assert done.ok, (name, done.message, done.hint, done.log_tail)


@pytest.mark.parametrize("level", LEVELS)
async def test_no_privilege_is_given_that_nothing_permitted_needs(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    async with made(lab, tmp_path, capsys, monkeypatch, "--level", level) as token:
        for path, given in token.printed["pve"].items():
            wanted = {each for where, text in _wanted("pve", level) if where == path for each in alternatives(text)}
            assert given <= wanted - {"Sys.Modify"}, (path, given - wanted)
        for path, given in token.chosen["pbs"].items():
            assert given <= {text for where, text in _wanted("pbs", level) if where == path}, path


@pytest.mark.parametrize("level", ["read", "operate"])
async def test_proxmox_itself_refuses_what_is_above(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    above = ["vm.create", "guest.clone", "guest.delete", "guest.exec", "network.set"]
    if level == "read":
        above += ["guest.reset", "node.reboot", "snapshot.create", "disk.add", "datastore.gc"]
    async with made(lab, tmp_path, capsys, monkeypatch, "--level", level) as token:
        for name in above:
            order = ORDERS[name]
            target = GuestRef(STOPPED_VM) if name == "guest.delete" else order.target
            with pytest.raises(ForbiddenError):
                await token.actions.perform(ROOT, name, target, args=order.args, timeout=60)
        assert STOPPED_VM in lab.world.guests


@pytest.mark.parametrize("level", LEVELS)
async def test_the_token_has_what_was_printed_and_nothing_else(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    async with made(lab, tmp_path, capsys, monkeypatch, "--level", level) as token:
        for client in token.clients.values():
            held_now = await client.get("access", "permissions")
            printed = token.printed[client.site.kind]
            for path, privileges in held_now.items():
                nearest = path
                while nearest not in printed and nearest != "/":
                    nearest = nearest.rpartition("/")[0] or "/"
                of_pool = printed.get("/pool", set()) if path.startswith("/vms/") else set()
                assert set(privileges) <= printed.get(nearest, set()) | of_pool, (client.site.slug, path)
            assert printed.items() <= {path: set(privileges) for path, privileges in held_now.items()}.items()


@pytest.mark.parametrize("level", ["read", "exec"])
async def test_every_tool_that_reads_works_and_get_permissions_agrees(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, level: Level
) -> None:
    async with made(lab, tmp_path, capsys, monkeypatch, "--level", level) as token, client_of(token) as client:
        sites = {each["site"]: each for each in (await ask(client, "get_permissions"))["sites"]}
        assert set(sites) == {"lab", "pbs1"}
        for each in sites.values():
            blocked = {name for name in each["blocked"] if "." not in name or level == "exec"}
            assert not blocked, each
        answers: dict[str, dict[str, Any]] = {
            "get_cluster_status": {}, "get_nodes": {}, "get_node_status": {"node": "pve1"}, "get_vms": {},
            "get_guest": {"vmid": VM, "config": True}, "get_storage": {}, "get_recent_tasks": {},
            "get_metrics_history": {"vmid": VM}, "get_logs": {"source": "cluster"}, "get_pools": {},
            "get_ha_resources": {}, "get_firewall_rules": {}, "get_replication": {}, "list_snapshots": {"vmid": VM},
            "list_backups": {}, "list_images": {}, "get_datastores": {}, "get_guest_ips": {"vmid": VM},
        }  # fmt: skip
        for tool, arguments in answers.items():
            answer = await ask(client, tool, **arguments)
            assert answer["complete"] is not False, (tool, answer["notes"])
        assert (await ask(client, "get_vms"))["total"] > 0
        assert (await ask(client, "list_backups"))["total"] > 0


async def test_more_is_switched_on_later(
    lab: Lab, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with made(lab, tmp_path, capsys, monkeypatch, "--level", "read") as token:
        order = ORDERS["guest.reset"]
        with pytest.raises(ForbiddenError):
            await token.actions.perform(ROOT, "guest.reset", order.target)
        later = await _in_thread(capsys, "--level", "change", "--pve", "--update")
        await RootShell(lab).run(shell_lines(later))
        assert (await token.actions.perform(ROOT, "guest.reset", order.target, timeout=60)).ok
