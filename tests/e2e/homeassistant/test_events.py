"""Every kind of event, by what happens in the lab: at the event entities, and as triggers in the automation editor."""

import json
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mqtt_bridge.homeassistant import guest_rows, node_rows
from tests.e2e.homeassistant.conftest import DEVICES, House
from tests.e2e.homeassistant.hass import Hass

GUEST, NODE, CLUSTER = "proxmox_lab_guest_100_event", "proxmox_lab_node_pve3_event", "proxmox_lab_cluster_event"
TRIGGERED = "proxmox_test_triggered"


class Heard:
    """Event types by unique id, as Home Assistant's own bus tells that its event entities changed."""

    def __init__(self, names: dict[str, str]) -> None:
        self.words: dict[str, list[str]] = defaultdict(list)
        self.triggered: list[str] = []
        self._names = {entity: unique for unique, entity in names.items()}

    def take(self, event: dict[str, Any]) -> None:
        if event["event_type"] == TRIGGERED:
            self.triggered.append(event["data"]["type"])
            return
        unique = self._names.get(event["data"]["entity_id"], "")
        new, old = event["data"]["new_state"], event["data"]["old_state"]
        if (
            unique.endswith("_event")
            and new
            and new["state"] not in {"unavailable", "unknown", (old or {}).get("state")}
        ):
            self.words[unique].append(new["attributes"]["event_type"])

    async def has(self, hass: Hass, unique: str, word: str) -> None:
        async def there() -> bool:
            return word in self.words[unique]

        await hass.until(there, f"no {word} at {unique}: {dict(self.words)}", 60)


@contextmanager
def listening(hass: Hass, names: dict[str, str]) -> Iterator[Heard]:
    module: Any = __import__("ha_harness")
    socket = module._WS("127.0.0.1", hass.ha.ha_port, hass.ha.token)
    for kind in ("state_changed", TRIGGERED):
        socket.call("subscribe_events", event_type=kind)
    heard, over = Heard(names), threading.Event()

    def listen() -> None:
        while not over.is_set():
            if event := socket.next_event(0.5):
                heard.take(event["event"])

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    try:
        yield heard
    finally:
        over.set()
        thread.join()
        socket.close()


async def say(hass: Hass, topic: str, command: str, **args: Any) -> None:
    one = {"command": command, "id": uuid.uuid4().hex, "ts": time.time(), "args": args}
    await hass.call(hass.ha.publish, f"proxmox/lab/{topic}/command", json.dumps(one))


async def automate(hass: Hass, device: str, *types: str) -> None:
    """An automation made of device triggers, as the editor makes it."""
    offered = await hass.call(hass.ha.device_automations, device)
    chosen = [one for one in offered if one["domain"] == "mqtt" and one["type"] in types]
    assert {one["type"] for one in chosen} == set(types)
    triggers = [
        {**{k: v for k, v in one.items() if k not in {"metadata", "platform"}}, "trigger": "device", "id": one["type"]}
        for one in chosen
    ]
    action = {"event": TRIGGERED, "event_data": {"type": "{{ trigger.id }}"}}
    await hass.call(hass.ha.automation_raw, "triggered", {"triggers": triggers, "conditions": [], "actions": [action]})


async def test_everything_that_happens(house: House) -> None:
    hass, lab = house.hass, house.lab
    await house.restart(POLL_SLOW_INTERVAL="10")
    await hass.settled(DEVICES)
    await automate(hass, "proxmox_lab_guest_100", "migrated", "backup failed")
    try:
        with listening(hass, await hass.ids()) as heard:
            await guests(house, heard)
            await hass.until(lambda: _triggered(heard), f"not triggered: {heard.triggered}")
            await nodes(house, heard)
            await cluster(house, heard)
    finally:
        await hass.call(hass.ha.delete_automation, "triggered")
    lab.fault("api-error", "0")
    await hass.settled(DEVICES)
    await hass.quiet()


async def _triggered(heard: Heard) -> bool:
    return heard.triggered == ["migrated", "backup failed"]


async def _fencing(hass: Hass) -> bool:
    """As the bridge has published it."""
    topic = "proxmox/lab/node/pve3"
    found = await hass.call(hass.ha.retained, topic, 1)
    return bool(json.loads(found[topic])["ha_state"] == "fence")


async def guests(house: House, heard: Heard) -> None:
    hass, lab = house.hass, house.lab
    await say(hass, "guest/100", "shutdown")
    await heard.has(hass, GUEST, "stopped")
    await say(hass, "guest/100", "start")
    await heard.has(hass, GUEST, "started")
    lab.fault("guest-crash", "100")
    await heard.has(hass, GUEST, "stopped_unexpectedly")
    await say(hass, "guest/100", "start")
    await hass.becomes("proxmox_lab_guest_100_running", "on")
    await say(hass, "guest/100", "migrate", target="pve2")
    await heard.has(hass, GUEST, "migrated")
    await say(hass, "guest/100", "snapshot", name="before")
    await heard.has(hass, GUEST, "snapshot")
    await say(hass, "guest/100", "backup")
    await heard.has(hass, GUEST, "backup_ok")
    lab.fault("task-warn", "vzdump")
    await say(hass, "guest/100", "backup")
    await heard.has(hass, GUEST, "backup_warning")
    lab.fault("backup-fail", "100")
    await say(hass, "guest/100", "backup")
    await heard.has(hass, GUEST, "backup_failed")
    assert set(heard.words[GUEST]) == set(guest_rows.EVENTS)


async def nodes(house: House, heard: Heard) -> None:
    hass, lab = house.hass, house.lab
    lab.fault("updates-available", "pve3")
    await heard.has(hass, NODE, "update_available")
    vmid = next(g.vmid for g in lab.world.sorted_guests() if g.node == "pve3" and g.running and g.kind == "qemu")
    lab.fault("task-fail", "qmsnapshot", "no space")
    await say(hass, f"guest/{vmid}", "snapshot", name="before")
    await heard.has(hass, NODE, "task_failed")
    lab.fault("node-ha", "pve3", "fence")
    await hass.until(lambda: _fencing(hass), "fencing is not seen")
    lab.fault("node-ha", "pve3", "unknown")
    await heard.has(hass, NODE, "fenced")
    lab.fault("node-down", "pve3")
    await heard.has(hass, NODE, "offline")
    lab.fault("node-up", "pve3")
    await heard.has(hass, NODE, "online")
    assert set(heard.words[NODE]) == set(node_rows.EVENTS)


async def cluster(house: House, heard: Heard) -> None:
    hass, lab = house.hass, house.lab
    await say(hass, "node/pve3", "reboot")
    await heard.has(hass, CLUSTER, "approval_requested")
    managed = next(int(sid.partition(":")[2]) for sid in lab.world.ha)
    lab.fault("ha-state", str(managed), "error")
    await heard.has(hass, CLUSTER, "ha_error")
    lab.fault("quorum-loss")
    await heard.has(hass, CLUSTER, "quorum_lost")
    lab.fault("quorum-back")
    await heard.has(hass, CLUSTER, "quorum_ok")
    lab.fault("api-error", "500")
    await heard.has(hass, CLUSTER, "api_offline")
    lab.fault("api-error", "0")
    await heard.has(hass, CLUSTER, "api_online")
