"""A bridge that is started again: disks that it has not read yet are not gone."""

import json
from pathlib import Path
from typing import Any

from proxmox_mcp.lab import Lab
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, Tree, environment, until

FAST = {"POLL_INTERVAL": "0.5", "POLL_TASKS_INTERVAL": "0.3", "POLL_DETAILS_BUDGET": "6000"}


async def test_disks_of_a_node_that_is_away_outlive_a_restart(lab: Lab, tmp_path: Path) -> None:
    one, gone = lab.world.nodes["pve2"].disks[0], lab.world.nodes["pve1"].disks[0]
    away, taken = f"lab/node/pve2/disk/{one.serial}", f"lab/node/pve1/disk/{gone.serial}"
    config = f"homeassistant/device/proxmox_lab_disk_pve2_{one.serial}/config"
    async with Mosquitto(tmp_path / "mosquitto") as mosquitto, Tree(mosquitto.options, "#") as tree:
        broker = {"MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port), "STATE_DIR": str(tmp_path / "state")}
        env = environment(**{**lab.env, **FAST, **broker})
        async with Command(tmp_path / "bridge", "mqtt-bridge", env=env) as bridge:
            await until(
                lambda: tree.json(away) and tree.json(taken) and tree.json("lab/node/pve2/zfs/tank"), seconds=60
            )
            await until(lambda: config in tree.retained, seconds=60)
            device: dict[str, Any] = json.loads(tree.retained[config])["dev"]
            assert (device["via_device"], device["sn"]) == ("proxmox_lab_node_pve2", one.serial)
            await bridge.stop()
            lab.fault("node-down", "pve2")
            lab.world.nodes["pve1"].disks.remove(gone)
            bridge.start()
            await until(lambda: tree.json("lab/state") is not None and tree.json(taken) is None, seconds=60)
            await until(lambda: not any(gone.serial in topic for topic in tree.retained), seconds=60)
            assert tree.json(away)
            assert tree.json("lab/node/pve2/zfs/tank")
            assert config in tree.retained
            lab.fault("node-up", "pve2")
            listed = f"pve2/{one.serial}"
            await until(
                lambda: listed in tree.json("lab/manifest")["disks"] and tree.json(away)["available"], seconds=60
            )
            why = [
                f"disk/{row}: DISK_SMART=all, for disks that may sleep" for row in ("power_on", "smart", "temperature")
            ]
            await until(lambda: tree.json("bridge/main/info")["homeassistant"]["not_created"] == why, seconds=60)
            await bridge.stop()
