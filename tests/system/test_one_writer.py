"""A site has one writer, a STATE_DIR one owner: whoever comes second says so, or stands by."""

import asyncio
from pathlib import Path

import pytest

from proxmox_mcp.lab import Lab
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, Serve, Tree, run, until
from tests.system.conftest import Env


class BridgeAlone(Command):
    """`mqtt-bridge` without a word."""

    def __init__(self, folder: Path, env: dict[str, str], *words: str) -> None:
        super().__init__(folder, "mqtt-bridge", *words, env=env)


@pytest.mark.parametrize("name", ["main", "other"])
async def test_a_second_bridge_for_a_site_refuses(
    broker_env: Env, mosquitto: Mosquitto, tmp_path: Path, name: str
) -> None:
    async with BridgeAlone(tmp_path / "first", broker_env()), Tree(mosquitto.options) as tree:
        await until(tree.whole)
        first = tree.json("lab/heartbeat")["instance"]
        env = broker_env(STATE_DIR=str(tmp_path / "elsewhere"), BRIDGE_NAME=name)
        async with Serve(tmp_path / "second", env) as second:
            assert await second.ended(15) == 1
            assert "is already published by bridge 'main'" in second.err
            assert "--standby" in second.err
            assert "Traceback" not in second.err
        await asyncio.sleep(1)
        assert tree.json("lab/heartbeat")["instance"] == first
        assert tree.json("lab/state") == "online"
        assert tree.json("bridge/main/state") == "online", "the refused one must not say that the first is offline"
        writers = {m.payload.decode() for _, m in tree.messages if m.topic == "proxmox/bridge/main/state"}
        assert writers == {"online"}
        assert name == "main" or tree.json(f"bridge/{name}/state") is None


@pytest.mark.parametrize("end", ["killed", "ended"])
async def test_a_standby_takes_over(broker_env: Env, lab: Lab, mosquitto: Mosquitto, tmp_path: Path, end: str) -> None:
    async with BridgeAlone(tmp_path / "first", broker_env()) as first, Tree(mosquitto.options) as tree:
        await until(tree.whole)
        env = broker_env(STATE_DIR=str(tmp_path / "elsewhere"), BRIDGE_NAME="second")
        async with BridgeAlone(tmp_path / "second", env, "run", "--standby") as second:
            await second.said("Standing by")
            await asyncio.sleep(1)
            assert tree.json("lab/heartbeat")["bridge"] == "main"
            assert tree.json("bridge/second/state") is None
            if end == "killed":
                await first.kill()
            else:
                assert await first.stop() == 0
            crashed = min(v for v in tree.guests() if tree.status(v) == "running")
            lab.fault("guest-crash", crashed)
            await until(lambda: tree.json("lab/heartbeat")["bridge"] == "second", 20)
            await until(lambda: tree.status(crashed) == "stopped" and tree.json("bridge/second/state") == "online")
            assert tree.json("bridge/main/state") == "offline"
            assert await second.stop() == 0
            await until(lambda: tree.json("bridge/second/state") == "offline")


async def test_a_quick_restart_is_not_refused(broker_env: Env, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Its own last words, not even an hour old, are no rival."""
    async with BridgeAlone(tmp_path / "bridge", broker_env()) as bridge, Tree(mosquitto.options) as tree:
        await until(tree.whole)
        for _ in range(2):
            before = tree.json("lab/heartbeat")["instance"]
            await bridge.kill()
            bridge.start()
            await until(lambda before=before: tree.json("lab/heartbeat")["instance"] != before, 10)  # type: ignore[misc]
            assert bridge.running, bridge.err
        await until(lambda: tree.json("bridge/main/state") == "online", 5)


async def test_a_second_owner_of_a_state_dir_says_who_the_first_is(
    broker_env: Env, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    async with Serve(tmp_path / "first", broker_env()) as first:
        await first.ready()
        for words in (("proxmox-mcp", "serve", "--port", "0"), ("mqtt-bridge",)):
            told = run(*words, env=broker_env(), cwd=tmp_path)
            assert told.returncode == 1
            assert f"process {first.pid}" in told.stderr
            assert "STATE_DIR" in told.stderr
            assert "Traceback" not in told.stderr


async def test_two_that_start_at_once_come_to_terms(broker_env: Env, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """Neither sees the other before it publishes: the later one gives way."""
    folders = [tmp_path / "a", tmp_path / "b"]
    bridges = [BridgeAlone(f, broker_env(STATE_DIR=str(f / "state"), BRIDGE_NAME=f.name)) for f in folders]
    async with bridges[0], bridges[1], Tree(mosquitto.options) as tree:
        await until(lambda: sum(b.running for b in bridges) == 1, 20)
        loser, winner = sorted(bridges, key=lambda b: b.running)
        assert loser.process.returncode == 1
        assert "another bridge" in loser.err or "already published" in loser.err
        await asyncio.sleep(1.5)
        assert winner.running
        assert tree.json("lab/heartbeat")["bridge"] == winner.folder.name
        assert tree.json("lab/state") == "online"
