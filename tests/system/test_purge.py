"""`mqtt-bridge purge`: everything of ours, nothing else."""

import json
from pathlib import Path

from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, Tree, run, until
from tests.system.conftest import Env

OURS = {
    "homeassistant/device/pmx_lab_guest_100/config": json.dumps({"dev": {"ids": ["a"]}, "o": {"name": "proxmox-mcp"}}),
    "homeassistant/device/pmx_old/config": json.dumps({"origin": {"name": "proxmox-mcp"}}),
    "homeassistant/device_automation/pmx_old/on_started/config": json.dumps({"o": {"name": "proxmox-mcp"}}),
    "proxmox/gone-site/guest/1": "{}",
    "proxmox/bridge/an-old-one/info": "{}",
}
FOREIGN = {
    "homeassistant/device/zigbee_1/config": json.dumps({"o": {"name": "zigbee2mqtt"}}),
    "homeassistant/device/broken/config": "{not json",
    "homeassistant/device_automation/zigbee_1/on/config": json.dumps({"o": {"name": "zigbee2mqtt"}}),
    "homeassistant/sensor/x/config": json.dumps({"name": "proxmox-mcp"}),
    "proxmox": "somebody's",
    "proxmox/what/ever/this/is": "x",
    "proxmox2/lab/state": "online",
    "zigbee2mqtt/lamp": "on",
}


async def test_it_lists_and_clears_ours_and_nothing_else(broker_env: Env, mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with Tree(mosquitto.options, "#") as tree:
        for topic, payload in {**OURS, **FOREIGN}.items():
            await tree.put(topic, payload.encode())
        async with Command(tmp_path / "bridge", "mqtt-bridge", env=broker_env()) as bridge:
            await until(tree.whole)
            refused = run("mqtt-bridge", "purge", env=broker_env(), cwd=tmp_path, seconds=100)
            assert refused.returncode == 1
            assert "main is online" in refused.stderr
            assert "Stop it" in refused.stderr
            assert len(tree.guests()) == 24
            assert await bridge.stop() == 0
        await until(lambda: tree.json("bridge/main/state") == "offline")
        everything = set(tree.retained)
        listed = run("mqtt-bridge", "purge", "--dry-run", env=broker_env(), cwd=tmp_path, seconds=100)
        assert listed.returncode == 0
        assert set(listed.stdout.split()) == everything - set(FOREIGN)
        assert set(tree.retained) == everything
        cleared = run("mqtt-bridge", "purge", env=broker_env(), cwd=tmp_path, seconds=100)
        assert cleared.returncode == 0
        assert set(cleared.stdout.split()) == everything - set(FOREIGN)
        await until(lambda: {t: p.decode() for t, p in tree.retained.items()} == FOREIGN, why=lambda: tree.retained)


async def test_it_clears_more_than_a_broker_sends_at_once(
    broker_env: Env, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    async with Tree(mosquitto.options, "proxmox/lab/state") as tree:
        for vmid in range(2500):
            await tree.bus.publish(f"proxmox/lab/guest/{vmid + 1}", b"{" + b"x" * 5000 + b"}", qos=0, retain=True)
        done = run("mqtt-bridge", "purge", env=broker_env(), cwd=tmp_path, seconds=100)
        assert done.returncode == 0
        assert len(done.stdout.split()) == 2500
    async with Tree(mosquitto.options, "proxmox/#") as left:
        assert left.retained == {}


async def test_a_broker_of_our_own_is_purged_while_nobody_runs(env: Env, tmp_path: Path) -> None:
    async with Command(tmp_path / "bridge", "mqtt-bridge", env=env()) as bridge:
        await bridge.said("MQTT broker of our own")
        busy = run("mqtt-bridge", "purge", env=env(), cwd=tmp_path, seconds=100)
        assert busy.returncode == 1
        assert f"process {bridge.pid}" in busy.stderr
        await until((tmp_path / "state" / "endpoint.json").exists)
        assert await bridge.stop() == 0
    done = run("mqtt-bridge", "purge", env=env(), cwd=tmp_path, seconds=100)
    assert done.returncode == 0, done.stderr
