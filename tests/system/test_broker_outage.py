"""The broker stopped, killed and emptied under load: everything is there again, and reads never stop."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mqtt_bridge.app import Bridge
from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab
from proxmox_mcp.serving import bus_factory
from proxmox_mcp.state import Mirror
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Agent, Serve, Tree, over_http, over_stdio, until
from tests.system.conftest import FAST, Env


@pytest.fixture(params=[True, False], ids=["kept", "lost"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Mosquitto]:
    """A broker that keeps its retained messages through a restart, and one that loses them."""
    async with Mosquitto(tmp_path / "store", persistence=request.param) as running:
        yield running


async def test_it_comes_back_under_load(store: Mosquitto, env: Env, lab: Lab, tmp_path: Path) -> None:
    serve_env = env(MQTT_HOST="127.0.0.1", MQTT_PORT=str(store.port))
    async with Serve(tmp_path / "serve", serve_env) as serve, Tree(store.options) as tree:
        await serve.ready()
        await until(tree.whole)
        reads: list[str] = []
        async with over_http(serve.url) as agent:
            reading = asyncio.create_task(_read_for_ever(agent, reads))
            churning = asyncio.create_task(_churn(lab))
            for end in (store.stop, store.kill):
                await asyncio.sleep(0.5)
                await end()
                crashed = min(v for v in tree.guests() if tree.status(v) == "running")
                lab.fault("guest-crash", crashed)
                await asyncio.sleep(1.5)
                await store.start()
                await until(lambda: tree.bus.connected, 15)
                await until(lambda crashed=crashed: tree.status(crashed) == "stopped", 15)  # type: ignore[misc]
            churning.cancel()
            await asyncio.wait([churning])
            reading.cancel()
            await asyncio.wait([reading])
            assert len(reads) > 50
            assert set(reads) <= {"mqtt", "api"}
            async with asyncio.timeout(15):
                while not (await agent.ask("get_vms"))["complete"]:
                    await asyncio.sleep(0.1)
        await until(lambda: _agrees(tree, lab), why=lambda: _difference(tree, lab))
        held = set(tree.retained)
        async with Tree(store.options) as fresh:
            await until(lambda: set(fresh.retained) >= held, why=lambda: held - set(fresh.retained))
            async with Mirror(bus_factory(store.options, "test"), sites=["lab"]) as mirror:
                await until(lambda: mirror.complete, why=lambda: mirror.store.missing)
                await until(lambda: _same(mirror, fresh), why=lambda: set(fresh.retained) ^ set(mirror.store.topics))


async def test_what_the_broker_holds_is_what_the_bridge_holds(
    lab: Lab, env: Env, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, so that both can be laid side by side; on the broker that a machine without Mosquitto gets."""
    monkeypatch.setattr("mqtt_bridge.mqtt.embedded_mosquitto.find", lambda: None)
    settings = load({**lab.env, **FAST, "STATE_DIR": str(tmp_path / "state")}, search=False)
    async with Bridge(settings) as bridge, Tree(bridge.options) as tree:
        assert bridge.broker_kind == "amqtt"
        async with asyncio.timeout(20):
            await bridge.ready()
        retained = bridge.pollers.retained
        await until(lambda: {t: p for t, (p, _) in retained.held.items()} == tree.retained)
        async with over_stdio(tmp_path / "agent", env()) as agent:
            answer = await agent.ask("get_vms")
            assert (answer["source"], answer["complete"]) == ("mqtt", True)
        assert not bridge.fatal.done()


async def _read_for_ever(agent: Agent, reads: list[str]) -> None:
    while True:
        answer = await agent.ask("get_vms")
        assert len(answer["guests"]) > 5
        reads.append(answer["source"])
        await asyncio.sleep(0.02)


async def _churn(lab: Lab) -> None:
    """States that change at every poll."""
    vmid = max(v for v, g in lab.world.guests.items() if g.kind == "qemu")
    while True:
        for lock in ("backup", ""):
            lab.guest(vmid).lock = lock
            await asyncio.sleep(0.3)


def _states(lab: Lab) -> dict[int, str]:
    return {v: "running" if g.running else "stopped" for v, g in lab.world.guests.items()}


def _agrees(tree: Tree, lab: Lab) -> bool:
    return {v: tree.status(v) for v in tree.guests()} == _states(lab)


def _difference(tree: Tree, lab: Lab) -> object:
    mine = {v: tree.status(v) for v in tree.guests()}
    return set(mine.items()) ^ set(_states(lab).items())


def _same(mirror: Mirror, tree: Tree) -> bool:
    """Everything that changes only with the site, byte by byte."""
    steady = [t for t in tree.retained if "/guest/" in t and not t.endswith("/metrics")]
    return all(t in mirror.store.topics and json.loads(mirror.store.topics[t].raw) == tree.json(t[8:]) for t in steady)
