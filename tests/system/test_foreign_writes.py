"""Anyone on the broker can write to our topics: it is put right, and nobody ever acts on it."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab
from proxmox_mcp.serving import bus_factory
from proxmox_mcp.state import Mirror
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Serve, Tree, over_http, until
from tests.system.conftest import Env


def forged(tree: Tree, guest: int, **changes: object) -> bytes:
    return json.dumps({**tree.guest(guest), **changes}).encode()


@pytest.mark.parametrize("retain", [True, False])
async def test_forgeries_are_put_right_and_never_acted_on(
    broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path, retain: bool
) -> None:
    env = broker_env(PROXMOX_ALLOW_ELEVATED="true")
    async with Serve(tmp_path / "serve", env) as serve, Tree(mosquitto.options) as tree:
        await serve.ready()
        await until(tree.whole)
        async with over_http(serve.url) as agent:
            vmid = next(g["vmid"] for g in (await agent.ask("get_vms", status="running"))["guests"])
            stranger = forged(tree, vmid, vmid=4711)
            lab.requests.clear()
            storm = asyncio.create_task(
                _repeat(tree, f"proxmox/lab/guest/{vmid}", forged(tree, vmid, status="stopped", node="pve9"), retain)
            )
            await asyncio.sleep(0.3)
            answer = await agent.ask("execute_vm_command", vmid=vmid, command="start")
            assert (answer["state_before"], answer["state_after"]) == ("running", "running")
            assert lab.requests.count("POST", f"*/qemu/{vmid}/status/start") == 0, (
                "it runs: the forged state was believed"
            )
            answer = await agent.ask("execute_vm_command", vmid=vmid, command="stop")
            assert (answer["state_before"], answer["state_after"]) == ("running", "stopped")
            await storm_over(storm)
            for payload in (b"\x00garbage", b"[]", b"{}", b"offline", stranger, b"x" * 200_000):
                await tree.put(f"proxmox/lab/guest/{vmid}", payload, retain=retain)
            await tree.put("proxmox/lab/manifest", b'{"generation": 99, "complete": true}', retain=retain)
            await tree.put("proxmox/lab/state", b"offline", retain=retain)
            await tree.put("proxmox/bridge/main/state", b"offline", retain=retain)
            await tree.put("proxmox/lab/guest/4711", stranger, retain=retain)
            await tree.put("proxmox/lab/no/such/topic", b"x", retain=retain)
            await until(lambda: tree.status(vmid) == "stopped", why=lambda: tree.guest(vmid))
            await until(lambda: "proxmox/lab/guest/4711" not in tree.retained)
            await until(lambda: tree.json("lab/state") == "online" and tree.json("bridge/main/state") == "online")
            await until(lambda: len(tree.json("lab/manifest")["guests"]) == 24)
            async with asyncio.timeout(10):
                while True:
                    seen = await agent.ask("get_vms")
                    if seen["complete"] and next(g for g in seen["guests"] if g["vmid"] == vmid)["status"] == "stopped":
                        break
                    await asyncio.sleep(0.1)
            assert "4711" in await agent.refused("get_guest", vmid=4711)
            assert "4711" in await agent.refused("execute_vm_command", vmid=4711, command="start")
            assert "proxmox/lab/no/such/topic" in tree.retained or not retain, "what is not one of our topics stays"
        assert not lab.guest(vmid).running
        assert serve.running


async def storm_over(storm: asyncio.Task[None]) -> None:
    storm.cancel()
    await asyncio.wait([storm])


async def _repeat(tree: Tree, topic: str, payload: bytes, retain: bool) -> None:
    while True:
        await tree.put(topic, payload, retain=retain)
        await asyncio.sleep(0.02)


async def test_an_empty_retained_publish_deletes_nothing_for_long(
    broker_env: Env, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    async with Serve(tmp_path / "serve", broker_env()) as serve, Tree(mosquitto.options) as tree:
        await serve.ready()
        await until(tree.whole)
        mine = set(tree.retained)
        for topic in mine:
            await tree.put(topic, b"")
        await until(lambda: set(tree.retained) >= mine, why=lambda: mine - set(tree.retained))


@pytest.mark.timeout(300)
async def test_a_flood_of_large_retained_messages(broker_env: Env, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """200 MB on names like ours, before the bridge starts and again while it runs: memory stays bounded."""
    big = b"{" + b"x" * 60_000 + b"}"
    async with Tree(mosquitto.options, "proxmox/lab/state") as stranger:
        await _flood(stranger, range(100_000, 101_500), big)
        async with (
            Serve(tmp_path / "serve", broker_env()) as serve,
            Tree(mosquitto.options, "proxmox/lab/+", "proxmox/bridge/+/state") as tree,
            Mirror(bus_factory(mosquitto.options, "test"), sites=["lab"]) as mirror,
        ):
            await serve.ready()
            await until(lambda: tree.json("lab/state") == "online")
            await until(lambda: mirror.complete, why=lambda: (mirror.trouble, len(mirror.store.missing)), seconds=60)
            before = serve.resident()
            await _flood(stranger, range(101_500, 103_500), big)
            await until(lambda: mirror.complete, why=lambda: (mirror.trouble, mirror.store.overflow), seconds=60)
            async with over_http(serve.url) as agent:
                answer = await agent.ask("get_vms")
                assert answer["complete"]
                assert all(g["vmid"] < 100_000 for g in answer["guests"])
            assert mirror.store.size <= mirror.store.max_bytes
            assert serve.resident() < 450 << 20, (before >> 20, serve.resident() >> 20)
            await until(lambda: tree.json("lab/state") == "online")
            assert await _cleared(mosquitto, 90), "what was forged at our names is still there"


async def _cleared(mosquitto: Mosquitto, seconds: float = 30) -> bool:
    """Looks with a fresh connection each time: one alone gets no more than its queue of a flood."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        async with Tree(mosquitto.options, "proxmox/lab/guest/+") as tree:
            await asyncio.sleep(1)
            if len(tree.retained) == 24:
                return True
    return False


async def _flood(tree: Tree, vmids: range, payload: bytes) -> None:
    for start in range(vmids.start, vmids.stop, 500):
        several = range(start, min(start + 500, vmids.stop))
        await asyncio.gather(*(tree.put(f"proxmox/lab/guest/{vmid}", payload) for vmid in several))
