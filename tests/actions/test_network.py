"""Network interfaces of guests on the lab: what is not given stays."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionError
from mqtt_bridge.errors import ForbiddenError, PolicyError
from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef
from tests.policy.bench import CT, ROOT, STOPPED_VM, TEMPLATE, VM, Bench, client_of, opened

MAC = "BC:24:11:56:B6:FB"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path) as running:
        yield running


def net(bench: Bench, vmid: int, key: str = "net0") -> str:
    return str(bench.lab.guest(vmid).config.get(key, ""))


@pytest.mark.parametrize(
    ("args", "becomes"),
    [
        ({"tag": 30}, f"virtio={MAC},bridge=vmbr0,firewall=1,tag=30"),
        ({"firewall": False, "link_down": True}, f"virtio={MAC},bridge=vmbr0,firewall=0,link_down=1"),
        ({"model": "e1000"}, f"bridge=vmbr0,firewall=1,e1000={MAC}"),
        ({"mac": "bc:24:11:00:00:01"}, "virtio=BC:24:11:00:00:01,bridge=vmbr0,firewall=1"),
        ({"rate": 12.5}, f"virtio={MAC},bridge=vmbr0,firewall=1,rate=12.5"),
    ],
)
async def test_a_vms_card_changes_and_keeps_the_rest(bench: Bench, args: dict[str, Any], becomes: str) -> None:
    bench.lab.guest(VM).config["net0"] = f"virtio={MAC},bridge=vmbr0,firewall=1"
    done = await bench.perform("network.set", VM, args={"interface": "net0", **args})
    assert (done.ok, net(bench, VM)) == (True, becomes)
    assert any("connections through net0 may break" in note for note in done.notes)
    same = await bench.perform("network.set", VM, args={"interface": "net0", **args})
    assert (same.changed, len(bench.writes)) == (False, 1)


async def test_a_tag_and_a_limit_are_taken_away_by_0_and_what_is_not_known_stays(bench: Bench) -> None:
    bench.lab.guest(VM).config["net0"] = f"virtio={MAC},bridge=vmbr0,tag=5,trunks=10;20,rate=3"
    await bench.perform("network.set", VM, args={"interface": "net0", "tag": 0, "rate": 0})
    assert net(bench, VM) == f"virtio={MAC},bridge=vmbr0,trunks=10;20"


async def test_a_new_card_gets_an_address(bench: Bench) -> None:
    done = await bench.perform("network.set", VM, args={"interface": "net1", "bridge": "vmbr0", "tag": 7})
    assert done.ok
    assert net(bench, VM, "net1").startswith("virtio=BC:24:11:")
    assert net(bench, VM, "net1").endswith(",bridge=vmbr0,tag=7")


async def test_a_containers_interface(bench: Bench) -> None:
    args = {"interface": "net0", "ip": "192.0.2.9/24", "gateway": "192.0.2.1"}
    assert (await bench.perform("network.set", CT, args=args)).ok
    assert "ip=192.0.2.9/24" in net(bench, CT)
    assert "gw=192.0.2.1" in net(bench, CT)
    assert "name=eth0,bridge=vmbr0,firewall=1" in net(bench, CT)
    assert (await bench.perform("network.set", CT, args={"interface": "net0", "ip": "dhcp"})).ok
    assert "gw=" not in net(bench, CT), "a gateway makes no sense with DHCP"
    assert (await bench.perform("network.set", CT, args={"interface": "net1", "bridge": "vmbr0", "ip6": "auto"})).ok
    assert net(bench, CT, "net1").startswith("name=eth1,ip6=auto,bridge=vmbr0,type=veth")


@pytest.mark.parametrize("vmid", [VM, CT])
async def test_an_interface_is_removed(bench: Bench, vmid: int) -> None:
    done = await bench.perform("network.remove", vmid, args={"interface": "net0"})
    assert (done.ok, net(bench, vmid)) == (True, "")
    again = await bench.perform("network.remove", vmid, args={"interface": "net0"})
    assert (again.changed, "has no net0" in again.message) == (False, True)


@pytest.mark.parametrize(
    ("vmid", "args", "says"),
    [
        (VM, {"interface": "eth0"}, "interface"),
        (VM, {"interface": "net99"}, "interface"),
        (VM, {"interface": "net1"}, "new one needs a bridge"),
        (VM, {"interface": "net0", "bridge": "vmbr9"}, "no bridge vmbr9.*There are: vmbr0"),
        (VM, {"interface": "net0", "bridge": "vmbr0,tag=1"}, "must not begin with"),
        (VM, {"interface": "net0", "tag": 5000}, "less than or equal"),
        (VM, {"interface": "net0", "mac": "01:00:5e:00:00:01"}, "hardware address of one card"),
        (VM, {"interface": "net0", "ip": "dhcp"}, "no ip in Proxmox.*set_cloudinit"),
        (CT, {"interface": "net0", "model": "e1000"}, "no card models"),
        (CT, {"interface": "net0", "ip": "192.0.2.9"}, "prefix length"),
        (CT, {"interface": "net0", "ip": "2001:db8::1/64"}, "IPv4 address"),
        (CT, {"interface": "net0", "gateway": "x"}, "an IP address"),
        (TEMPLATE, {"interface": "net0", "tag": 3}, "is a template"),
    ],
)
async def test_what_cannot_be_set(bench: Bench, vmid: int, args: dict[str, Any], says: str) -> None:
    with pytest.raises(ActionError, match=says):
        await bench.perform("network.set", vmid, args=args)
    assert bench.writes == []


async def test_a_change_that_waits_for_a_stop_is_no_success(bench: Bench) -> None:
    bench.lab.guest(VM).config["hotplug"] = "disk,usb"
    before = net(bench, VM)
    waits = await bench.perform("network.set", VM, args={"interface": "net0", "tag": 30})
    assert (waits.ok, waits.changed, net(bench, VM)) == (False, False, before)
    assert "waits for its next stop" in waits.message
    with pytest.raises(ActionError, match="Shut it down first"):
        await bench.perform("network.remove", VM, args={"interface": "net0"})


async def test_a_dry_run_shows_the_call(bench: Bench) -> None:
    dry = await bench.perform("network.set", CT, args={"interface": "net0", "link_down": True}, dry_run=True)
    (call,) = dry.calls
    assert (call.method, call.path) == ("PUT", f"/nodes/pve1/lxc/{CT}/config")
    assert call.params["net0"] == f"{net(bench, CT)},link_down=1"
    assert bench.writes == []


async def test_the_policy(bench: Bench) -> None:
    args = {"interface": "net0", "tag": 3}
    with pytest.raises(PolicyError, match="MCP_ALLOW=change"):
        await bench.actions().perform(Principal("weak", "stdio", "operate"), "network.set", GuestRef(VM), args=args)
    own = PermissionSettings(mcp_allow="exec", approval_required=frozenset(), self_guests=frozenset({VM, STOPPED_VM}))
    with pytest.raises(PolicyError, match="needs an approval, since it takes down VM 100"):
        await bench.actions(own).perform(ROOT, "network.set", GuestRef(VM), args=args)
    assert (await bench.actions(own).perform(ROOT, "network.set", GuestRef(STOPPED_VM), args=args)).ok


async def test_a_token_without_the_right(bench: Bench) -> None:
    async with client_of(bench.lab, account="audit@pve!ro") as client:
        actions = bench.actions(clients={"lab": client})
        with pytest.raises(ForbiddenError, match=r"VM\.Config"):
            await actions.perform(ROOT, "network.remove", GuestRef(VM), args={"interface": "net0"})
