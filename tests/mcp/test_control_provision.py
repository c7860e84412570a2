"""The provision tools through MCP, on the lab: each once as it should be, and once refused."""

import dataclasses
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from mqtt_bridge.actions import Actions
from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.proxmox.client import ProxmoxClient
from mqtt_bridge.settings import PermissionSettings, Settings, load
from proxmox_mcp.lab import Lab, LabOptions
from proxmox_mcp.server import build_server
from proxmox_mcp.serving import private_poller
from proxmox_mcp.state import State
from tests.support.asking import ask, refused
from tests.support.held import held
from tests.support.watched import fast

VM, STOPPED_VM, CT, STOPPED_CT, TEMPLATE = 100, 121, 109, 117, 9000
TAR = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"
ISO = "nas:iso/debian-13.1.0-amd64-netinst.iso"
SUM = "0123456789abcdef" * 4
HIDDEN = "hidden-4711"
OPEN = PermissionSettings(
    mcp_allow="exec", approval_required=frozenset(), image_url_allowlist=frozenset({"cloud.debian.org"})
)
CHANGERS = {"download_image", "create_vm", "create_lxc", "clone_guest", "update_guest", "set_cloudinit",
            "migrate_guest"}  # fmt: skip
ENDERS = {"convert_to_template", "delete_guest"}


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    async with Lab(LabOptions(speed=20, pvestatd_interval=0, auth_delay=0.05)) as running:
        yield running
        assert running.unsimulated == []


@pytest.fixture
def permission() -> PermissionSettings:
    return OPEN


@pytest.fixture
def settings(lab: Lab, tmp_path: Path, permission: PermissionSettings) -> Settings:
    loaded = fast(load({**lab.env, "STATE_DIR": str(tmp_path / "state"), "MCP_TOOLSETS": "provision"}, search=False))
    return dataclasses.replace(loaded, permission=permission)


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        clients = {s.slug: await stack.enter_async_context(ProxmoxClient(s, settings.api)) for s in settings.sites}
        state = await stack.enter_async_context(
            State(None, lambda: private_poller(settings), sites=[s.slug for s in settings.sites], wait=10)
        )
        actions = Actions(clients, settings.permission, Audit(settings.general.state_dir))
        yield await stack.enter_async_context(held(Client(build_server(settings, state, actions, clients))))


async def names(client: Client) -> set[str]:
    return {tool.name for tool in (await client.list_tools()).tools}


async def test_all_are_listed_to_who_may_use_them(client: Client) -> None:
    assert await names(client) == {"get_next_vmid", "list_images", *CHANGERS, *ENDERS}


@pytest.mark.parametrize("permission", [dataclasses.replace(OPEN, mcp_allow="change")])
async def test_what_ends_a_guest_is_not_listed_below_its_level(client: Client) -> None:
    assert await names(client) == {"get_next_vmid", "list_images", *CHANGERS}
    assert "not permitted" in await refused(client, "delete_guest", vmid=STOPPED_VM)


@pytest.mark.parametrize("permission", [dataclasses.replace(OPEN, image_url_allowlist=frozenset())])
async def test_without_a_list_of_hosts_the_download_is_hidden(client: Client) -> None:
    assert "download_image" not in await names(client)
    order = {"url": "https://cloud.debian.org/x.iso", "checksum": SUM, "storage": "nas", "content": "iso"}
    assert "IMAGE_URL_ALLOWLIST" in await refused(client, "download_image", **order)


async def test_an_image_is_downloaded_and_a_machine_made_of_it(client: Client, lab: Lab) -> None:
    order = {"url": "https://cloud.debian.org/x.iso?sig=abc123", "checksum": SUM, "storage": "nas", "content": "iso"}
    image = await ask(client, "download_image", **order)
    assert (image["ok"], image["target"], image["details"]["volid"]) == (True, "nas", "nas:iso/x.iso")
    assert "abc123" not in str(image)
    other = order | {"url": "https://evil.example/y.iso"}
    assert "IMAGE_URL_ALLOWLIST" in await refused(client, "download_image", **other)
    made = await ask(client, "create_vm", node="pve1", name="from-iso", iso="nas:iso/x.iso", start=True, tags=["t"])
    assert (made["ok"], made["state_after"]) == (True, "running")
    assert lab.guest(made["details"]["vmid"]).config["ide2"].startswith("nas:iso/x.iso")
    assert "no volume" in await refused(client, "create_vm", node="pve1", iso="nas:iso/none.iso")


async def test_a_vmid_may_be_given_as_text(client: Client, lab: Lab) -> None:
    assert (await ask(client, "create_vm", node="pve1", vmid="700", diskless=True))["target"] == 700
    assert "a guest 700 already" in await refused(client, "create_vm", node="pve1", vmid="700")
    assert (await ask(client, "clone_guest", vmid="9000", newid="701", name="two"))["details"]["vmid"] == 701
    assert lab.guest(701).name == "two"


async def test_a_container_is_made(client: Client, lab: Lab) -> None:
    order: dict[str, Any] = {"node": "pve1", "template": TAR, "password": HIDDEN, "storage": "local-lvm"}
    dry = await ask(client, "create_lxc", **order, dry_run=True)
    assert dry["calls"][0]["params"]["unprivileged"] == 1
    assert lab.world.guests.keys().isdisjoint({dry["target"]})
    made = await ask(client, "create_lxc", **order, name="ct9")
    assert lab.guest(made["details"]["vmid"]).name == "ct9"
    assert HIDDEN not in f"{dry}{made}"
    assert "not rootdir" in await refused(client, "create_lxc", **(order | {"storage": "nas"}))


async def test_a_template_is_cloned(client: Client, lab: Lab) -> None:
    done = await ask(client, "clone_guest", vmid=TEMPLATE, name="copy", target="pve2", pool="dev")
    clone = lab.guest(done["details"]["vmid"])
    assert (clone.name, clone.node, clone.pool) == ("copy", "pve2", "dev")
    assert "no template" in await refused(client, "clone_guest", vmid=VM, full=False)


@pytest.mark.parametrize("vmid", [VM, CT])
async def test_a_guest_is_changed(client: Client, lab: Lab, vmid: int) -> None:
    done = await ask(client, "update_guest", vmid=vmid, name="renamed", tags=["one"], cpu_limit=2, description="")
    assert done["ok"]
    assert (lab.guest(vmid).name, lab.guest(vmid).tags) == ("renamed", "one")
    assert "protection" in await refused(client, "update_guest", vmid=vmid, protection=False)


async def test_cloud_init_is_set(client: Client, lab: Lab) -> None:
    done = await ask(
        client, "set_cloudinit", vmid=STOPPED_VM, user="me", password=HIDDEN, ip="dhcp", storage="local-lvm"
    )
    assert done["ok"], done
    assert lab.guest(STOPPED_VM).config["ipconfig0"] == "ip=dhcp"
    assert HIDDEN not in str(done)
    assert "update_guest" in await refused(client, "set_cloudinit", vmid=CT, user="me")


async def test_a_guest_moves(client: Client, lab: Lab) -> None:
    dry = await ask(client, "migrate_guest", vmid=VM, target="pve2", dry_run=True)
    assert any("moves live" in note for note in dry["before"])
    assert (await ask(client, "migrate_guest", vmid=VM, target="pve2"))["details"] == {"node": "pve2"}
    there = "pve1" if lab.guest(CT).node != "pve1" else "pve2"
    moved = await ask(client, "migrate_guest", vmid=CT, target=there, shutdown_timeout=30)
    assert (moved["ok"], lab.guest(CT).node) == (True, there)
    assert "no node pve9" in await refused(client, "migrate_guest", vmid=VM, target="pve9")


async def test_guests_end(client: Client, lab: Lab) -> None:
    assert (await ask(client, "convert_to_template", vmid=STOPPED_VM))["ok"]
    assert lab.guest(STOPPED_VM).template
    assert "must be stopped" in await refused(client, "convert_to_template", vmid=VM)
    assert "must be stopped" in await refused(client, "delete_guest", vmid=VM)
    dry = await ask(client, "delete_guest", vmid=STOPPED_CT, purge=True, dry_run=True)
    assert any("disks are destroyed" in note for note in dry["before"])
    assert (await ask(client, "delete_guest", vmid=STOPPED_CT, purge=True))["ok"]
    assert STOPPED_CT not in lab.world.guests


@pytest.mark.parametrize("permission", [dataclasses.replace(OPEN, vmid_allowlist=frozenset({VM, 700}))])
async def test_what_is_outside_the_list_is_refused(client: Client) -> None:
    for tool, arguments in (
        ("create_vm", {"node": "pve1"}),
        ("create_lxc", {"node": "pve1", "template": TAR}),
        ("clone_guest", {"vmid": TEMPLATE, "newid": 700}),
        ("clone_guest", {"vmid": VM, "newid": 701}),
        ("update_guest", {"vmid": CT, "onboot": True}),
        ("migrate_guest", {"vmid": CT, "target": "pve3"}),
        ("delete_guest", {"vmid": STOPPED_CT}),
    ):
        assert "PROXMOX_VMID_ALLOWLIST" in await refused(client, tool, **arguments)
