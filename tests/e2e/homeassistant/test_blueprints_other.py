"""Blueprints about storages, disks, schedules and updates, and the events of devices in the UI's automations."""

from datetime import UTC, datetime, timedelta
from typing import Any

from mqtt_bridge.homeassistant.guest_rows import EVENTS as GUEST_EVENTS
from mqtt_bridge.homeassistant.node_rows import EVENTS as NODE_EVENTS
from mqtt_bridge.homeassistant.other_rows import EVENTS as CLUSTER_EVENTS
from proxmox_mcp.lab import power
from tests.e2e.homeassistant.blueprints import Phone, Robot, automation, plays, well
from tests.e2e.homeassistant.conftest import DEVICES, House
from tests.e2e.homeassistant.hass import Hass

LOOK = 100  # seconds: they look once a minute
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


async def test_storages_and_disks(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    await ready(hass)
    disk, failing = lab.world.nodes["pve1"].disks[0], lab.world.nodes["pve2"].disks[0]
    told: dict[str, Any] = {"phones": [phone.device_id]}
    limits: dict[str, Any] = {"warning": 80, "critical": 90, "hysteresis": 5}
    storages = automation(hass, "storage_full", memory=await helper(hass, "storages"), every="/1", **limits, **told)
    disks = automation(hass, "disk_health", memory=await helper(hass, "disks"), every="/1", **told)
    late = (datetime.now(UTC) - timedelta(minutes=5)).strftime("%H:%M:%S")
    async with storages, disks, automation(hass, "updates_digest", **told, days=[day[:3] for day in DAYS], at=late):
        await phone.push("Datastore archive fills up", "83.0 % used, warning from 80 %")  # it was so before
        await phone.push("Disk sdb (pve3) is worn", "94 % of its life")
        lab.fault("storage-fill", "nas", "85")
        disk.temperature = 58
        lab.fault("pool-degrade", "pve1")
        await house.restart()  # disks are read once an hour, and at its start
        await phone.push("Storage nas fills up", "85.0 %", seconds=LOOK)
        await phone.push("is hot", "58 °C, warning from 55 °C", seconds=LOOK)
        await phone.push("ZFS pool tank (pve1) is DEGRADED", seconds=LOOK)
        lab.fault("storage-fill", "nas", "97")
        disk.temperature = 70
        lab.fault("disk-fail", "pve2", failing.devpath)
        await house.restart()
        push = await phone.push("Storage nas is nearly full", "critical from 90 %", seconds=LOOK)
        assert push["data"]["push"] == {"interruption-level": "time-sensitive"}
        assert push["data"]["actions"][0]["uri"].endswith("storage%2Fpve1%2Fnas")
        await phone.push("is too hot", "70 °C, critical from 65 °C", seconds=LOOK)
        await phone.push("(pve2) is failing", "SMART says FAILED", seconds=LOOK)
        lab.fault("storage-fill", "nas", "86")
        disk.temperature = 62  # neither is far enough below
        assert len(phone.pushes) == 8
        await plays(house)
        lab.fault("disk-pull", "pve2", failing.devpath)
        del lab.world.pbs["pbs1"].datastores["archive"]  # both were told of
        await hass.until(lambda: _left(hass, "proxmox_pbs1_datastore_archive"), "the datastore is still there")
        lab.fault("storage-fill", "nas", "70")
        lab.fault("pool-repair", "pve1")
        disk.temperature = 40
        await house.restart()
        await phone.push("Storage nas has room again", "70.0 % used.", seconds=LOOK)
        await phone.push("is cool again", "40 °C.", seconds=LOOK)
        await phone.push("ZFS pool tank (pve1) is well again", "scrub repaired", seconds=LOOK)
        assert len(phone.pushes) == 11
    await well(hass)


async def test_a_schedule_has_power(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    await ready(hass)
    devices = await hass.devices()
    guests = [devices[f"proxmox_lab_guest_{vmid}"]["id"] for vmid in (100, 102)]
    schedule = await hass.call(hass.ha.ws, "schedule/create", name="Office hours")
    with_them: dict[str, Any] = {
        "schedule": "schedule.office_hours", "guests": guests, "phones": [phone.device_id], "pause": 1, "grace": 30,
        "start_limit": 30,
    }  # fmt: skip
    async with automation(hass, "schedule_power", **with_them) as robot:
        await turn(hass, schedule, "on")
        await robot.ran(1)
        await turn(hass, schedule, "off")
        await powered(house, "off")
        asked = [one.path for one in lab.requests if one.path.endswith("/status/shutdown")]
        assert ["/102/" in path for path in asked] == [True, False]
        await turn(hass, schedule, "on")
        await powered(house, "on")
        await robot.ran(3)
        assert phone.pushes == []
        lab.fault("task-fail", "qmshutdown", "got timeout")
        await turn(hass, schedule, "off")
        push = await phone.push("web01 not shut down", "it still runs after 30 s", seconds=LOOK)
        assert lab.requests.count("POST", "*/qemu/100/status/stop") == 0
        await phone.press(push, "Force stop")
        await phone.push("web01 shut down", "By force: web01")
        assert lab.requests.count("POST", "*/qemu/100/status/stop") == 1
        lab.fault("task-fail", "qmstart", "no memory")
        await turn(hass, schedule, "on")
        push = await phone.push("web01 not started", seconds=LOOK)
        await phone.press(push, "Again")
        await phone.push("web01 started")
        await robot.ran(7)  # five times by the schedule, twice by a button
        pushes = len(phone.pushes)
        await plays(house, gone=101)
        assert (await robot.fired(), len(phone.pushes)) == (7, pushes)
        await kept_up(house, phone, schedule)
    async with automation(hass, "schedule_power", **with_them, force=True, catches_up=True, success=True):
        lab.fault("task-fail", "qmshutdown", "got timeout")
        await turn(hass, schedule, "off")
        await phone.push("shut down", "By force: web01", seconds=LOOK)
        await powered(house, "off")
        assert lab.requests.count("POST", "*/qemu/100/status/stop") == 2
        await hass.call(hass.ha.stop_hass)
        power.turn_on(lab.world, lab.guest(102))
        await hass.call(hass.ha.start_hass)
        await phone.push("dns shut down")
        await powered(house, "off")
    await hass.call(hass.ha.ws, "schedule/delete", schedule_id=schedule["id"])
    await well(hass)


async def kept_up(house: House, phone: Phone, schedule: dict[str, Any]) -> None:
    """A guest whose node is in maintenance is left alone; the other one is not."""
    hass = house.hass
    switch = f"proxmox_lab_node_{house.lab.guest(100).node}_maintenance"
    assert house.lab.guest(100).node != house.lab.guest(102).node
    await hass.turn(switch, "on")
    await hass.becomes(switch, "on")
    await turn(hass, schedule, "off")
    await hass.becomes("proxmox_lab_guest_102_power", "off")
    assert house.lab.guest(100).running
    await turn(hass, schedule, "on")
    await powered(house, "on")
    await hass.turn(switch, "off")
    await hass.becomes(switch, "off")


async def test_updates_once_a_week(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    lab.world.nodes["pve1"].updates = ()
    await house.restart()
    await ready(hass)
    await hass.becomes("proxmox_lab_node_pve1_updates", "off")
    today = DAYS[datetime.now(UTC).weekday()][:3]
    told: dict[str, Any] = {"phones": [phone.device_id], "days": [today]}
    async with automation(hass, "updates_digest", **told, at=soon()) as robot:
        await looked(robot)
    lab.fault("updates-available", "pve2")
    lab.fault("updates-available", "pve3")
    await house.restart()
    await hass.becomes("proxmox_lab_node_pve2_updates", "on")
    await hass.becomes("proxmox_lab_node_pve3_updates", "on")
    others = [day[:3] for day in DAYS if day[:3] != today]
    async with automation(hass, "updates_digest", **{**told, "days": others}, at=soon()) as robot:
        await looked(robot)
    assert phone.pushes == []
    async with automation(hass, "updates_digest", **told, at=soon()) as robot:
        push = await phone.push("Updates for 2 nodes", "pve2: 9.2.11 + ", "pve3: 9.2.11 + ")
        assert [one["title"] for one in push["data"]["actions"]] == ["Open pve2", "Open pve3"]
        assert len(await robot.ran(1)) == 1
    async with automation(hass, "updates_digest", days=[today], at=soon()):
        await hass.call(hass.ha.wait_notification, "Updates for 2 nodes", 40)
    assert len(phone.pushes) == 1
    await well(hass)


async def test_the_ui_automates_events_of_devices(house: House) -> None:
    """What the editor offers for a device, used as the editor writes it."""
    hass, lab = house.hass, house.lab
    await ready(hass)
    node = f"proxmox_lab_node_{lab.guest(100).node}"
    wanted = {"proxmox_lab_guest_100": GUEST_EVENTS, node: NODE_EVENTS, "proxmox_lab_cluster": CLUSTER_EVENTS}
    offered: dict[tuple[str, str], dict[str, Any]] = {}
    for device, events in wanted.items():
        triggers = await hass.call(hass.ha.device_automations, device)
        mine = {one["type"]: one for one in triggers if one["domain"] == "mqtt"}
        assert set(mine) == {event.replace("_", " ") for event in events}
        offered |= {(device, kind): one for kind, one in mine.items()}
    picked = {
        "guest": offered["proxmox_lab_guest_100", "stopped unexpectedly"],
        "node": offered[node, "task failed"],
        "cluster": offered["proxmox_lab_cluster", "quorum lost"],
    }
    triggers = [{**trigger, "trigger": trigger["platform"], "id": name} for name, trigger in picked.items()]
    for trigger in triggers:
        del trigger["platform"]
    valid = await hass.call(hass.ha.ws, "validate_config", triggers=triggers)
    assert valid["triggers"]["valid"], valid
    said = {"title": "{{ trigger.id }}", "message": "{{ trigger.payload_json.event_type }}"}
    told = {"action": "persistent_notification.create", "data": said}
    config = {"triggers": triggers, "conditions": [], "actions": [told], "mode": "parallel"}
    await hass.call(hass.ha.automation_raw, "by_device", config)
    await hass.until(lambda: _loaded(hass), "no automation")
    lab.fault("guest-crash", "100")
    lab.fault("task-fail", "qmstart", "no memory")
    lab.fault("quorum-loss")
    await hass.call(hass.ha.wait_notification, "stopped_unexpectedly", 40)
    await hass.call(hass.ha.wait_notification, "quorum_lost", 40)
    lab.fault("quorum-back")
    await hass.turn("proxmox_lab_guest_100_power", "on")
    found = await hass.call(hass.ha.wait_notification, "task_failed", 40)
    assert found["title"] == "node"
    await hass.call(hass.ha.delete_automation, "by_device")
    await well(hass)


async def _loaded(hass: Hass) -> bool:
    return (await hass.states()).get("automation.by_device", {}).get("state") == "on"


async def ready(hass: Hass) -> None:
    """Every device of the lab is there, and available."""
    await hass.settled(DEVICES, 90)


async def _left(hass: Hass, device: str) -> bool:
    return device not in await hass.devices()


async def helper(hass: Hass, name: str) -> str:
    """A text helper, as the form makes it; gives its entity."""
    made = await hass.call(hass.ha.ws, "input_text/create", name=name, max=255)
    return f"input_text.{made['id']}"


async def turn(hass: Hass, schedule: dict[str, Any], word: str) -> None:
    """The schedule goes on or off now, since somebody has drawn it so."""
    times = [{"from": "00:00:00", "to": "24:00:00"}] if word == "on" else []
    days = dict.fromkeys(DAYS, times)
    await hass.call(hass.ha.ws, "schedule/update", schedule_id=schedule["id"], name=schedule["name"], **days)
    await hass.call(hass.ha.wait_state, f"schedule.{schedule['id']}", word)


async def powered(house: House, word: str) -> None:
    """Both guests are, in the lab and in Home Assistant."""
    for vmid in (100, 102):
        await house.hass.becomes(f"proxmox_lab_guest_{vmid}_power", word)
        assert house.lab.guest(vmid).running == (word == "on")


def soon() -> str:
    return (datetime.now(UTC) + timedelta(seconds=20)).strftime("%H:%M:%S")


async def looked(robot: Robot) -> None:
    """It was time, and there was nothing to tell."""
    await robot.hass.until(lambda: _refused(robot), "it did not look")
    assert await robot.fired() == 0


async def _refused(robot: Robot) -> bool:
    traces = await robot.hass.call(robot.hass.ha.traces, robot.id)
    return any(one["script_execution"] == "failed_conditions" for one in traces)
