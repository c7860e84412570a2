"""The blueprints about guests and their backups, on real happenings in the lab."""

import asyncio
from typing import Any

from tests.e2e.homeassistant.blueprints import Phone, Robot, automation, plays, ready, well
from tests.e2e.homeassistant.conftest import House

NOTE = "input_text.harness_text"
POWER = "proxmox_lab_guest_100_power"


async def test_a_backup_that_failed(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    await ready(house)
    lab.fault("backup-fail", "100")
    async with automation(hass, "backup_failed"):
        await backup(house, 100)
        note = await hass.call(hass.ha.wait_notification, "Backup of web01 failed", 40)
        assert "Input/output error" in note["message"]
    assert not phone.pushes
    async with automation(hass, "backup_failed", phones=[phone.device_id], extra_actions=writes("event.name")) as robot:
        lab.fault("backup-fail", "100")
        await backup(house, 100)
        first = await phone.push("Backup of web01 failed")
        assert first["message"] == "On pve1: Backup of VM 100 failed - job failed with err -5 - Input/output error"
        await hass.until(lambda: noted(house, "web01"), "no extra action")
        asked = lab.requests.count("POST", "*/vzdump")
        await phone.press(first, "Try again")
        assert "100" in (await phone.push("Backup is made"))["message"]
        assert lab.requests.count("POST", "*/vzdump") == asked + 1

        phone.forget()
        await plays(house, gone=101)
        lab.fault("backup-fail", "100")
        await phone.press(first, "Try again")  # the button outlived the restart
        again = await phone.push("Backup of web01 failed")
        assert len(phone.pushes) == 1, phone.pushes
        await phone.press(again, "Try again")
        await phone.push("Backup is made")
        await nobody_listens(house, phone, again, "Try again")
        assert len(await robot.runs()) >= 5
    await well(hass)


async def nobody_listens(house: House, phone: Phone, push: dict[str, Any], button: str) -> None:
    """Without MQTT_COMMANDS the button says so."""
    await house.restart(MQTT_ALLOW="")
    await ready(house)
    await phone.press(push, button)
    await phone.push("Nobody answers", "MQTT_COMMANDS")


async def test_a_guest_that_is_down(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    await ready(house)
    guests = [(await hass.devices())[f"proxmox_lab_guest_{vmid}"]["id"] for vmid in (100, 103)]
    inputs = {"phones": [phone.device_id], "guests": guests, "patience": 0}
    async with automation(hass, "guest_down", **inputs, extra_actions=writes("reacts")) as robot:
        lab.fault("guest-crash", "102")  # none of those that are watched
        lab.fault("guest-crash", "100")
        push = await phone.push("web01 is down")
        assert push["data"]["push"] == {"interruption-level": "time-sensitive"}
        await hass.until(lambda: noted(house, "ask"), "no extra action")
        assert not lab.guest(100).running
        await phone.press(push, "Start")
        await phone.push("It runs again", "web01")
        assert lab.guest(100).running
        assert not phone.told("102")

        phone.forget()
        await hass.turn(POWER, "off")  # somebody asked for it
        await hass.becomes(POWER, "off")
        await asyncio.sleep(2.5)  # Proxmox counts seconds: a task of the second of a start may explain what comes after
        await hass.turn(POWER, "on")
        await hass.becomes(POWER, "on")
        await in_maintenance(house, robot)
        assert not phone.pushes, phone.pushes
        await plays(house, gone=103)
        lab.fault("guest-crash", "100")
        await phone.push("web01 is down")
        assert len(phone.pushes) == 1, phone.pushes
    await well(hass)


async def in_maintenance(house: House, robot: Robot) -> None:
    """It stops in a maintenance of the site and of its node, and is started by hand."""
    for key in ("proxmox_lab_cluster_maintenance", "proxmox_lab_node_pve1_maintenance"):
        await _maintained(house, robot, key)


async def _maintained(house: House, robot: Robot, key: str) -> None:
    hass, before = house.hass, await stops(robot)
    await hass.turn(key, "on")
    await hass.becomes(key, "on")
    house.lab.fault("guest-crash", "100")
    await hass.until(lambda: _more(robot, before), "it did not look at that")
    await hass.turn(key, "off")
    await hass.becomes(key, "off")
    await hass.turn(POWER, "on")
    await hass.becomes(POWER, "on")


async def stops(robot: Robot) -> int:
    """How many unexpected stops of guest 100 it has dealt with."""
    return sum(str(one["trigger"]).endswith("/guest/100/event") for one in await robot.runs())


async def _more(robot: Robot, before: int) -> bool:
    return await stops(robot) > before


async def test_a_guest_that_is_started_by_itself(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    await ready(house)
    async with automation(hass, "guest_down"):  # all defaults: it waits for 30 s, and then asks whoever reads it
        lab.fault("guest-crash", "103")
        await hass.call(hass.ha.wait_notification, f"{lab.guest(103).name} is down", 90)
    inputs = {"phones": [phone.device_id], "reaction": "start", "patience": 0, "limit": 1}
    async with automation(hass, "guest_down", **inputs):
        lab.fault("guest-crash", "100")
        await phone.push("web01 is down", "It is being started")
        await phone.push("It runs again")
        await hass.becomes("proxmox_lab_guest_100_running", "on")
        phone.forget()
        await plays(house)
        lab.fault("guest-crash", "100")
        push = await phone.push("web01 is down", "2 times")
        assert "Start" in phone.buttons(push)
        assert len(phone.pushes) == 1
        assert not lab.guest(100).running
        lab.fault("task-fail", "qmstart", "no memory")
        await phone.press(push, "Start")
        failed = await phone.push("It did not start", "no memory")
        await phone.press(failed, "Start")
        await phone.push("It runs again")
    await well(hass)


async def test_backups_that_are_overdue(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    await ready(house)
    await hass.until(lambda: _known(house), "it is not known when they were backed up")
    async with automation(hass, "backup_overdue", every="/1", settle=0, extra_actions=writes("overdue | count")):
        note = await hass.call(hass.ha.wait_notification, "2 guests without a backup", 90)
        assert "gitlab: never" in note["message"]
        await hass.until(lambda: noted(house, "2"), "no extra action")
    assert not phone.pushes
    inputs = {"every": "/1", "hours": 30, "settle": 0, "phones": [phone.device_id]}
    async with (
        automation(hass, "backup_overdue", "patient", every="/1", hours=1) as patient,
        automation(hass, "backup_overdue", "other", **inputs) as robot,
    ):
        push = await phone.push("3 guests without a backup", "web02", seconds=90)
        phone.forget()
        await plays(house, gone=108)
        looked = await looks(robot)
        await hass.until(lambda: _looked(robot, looked), "it does not look any more", 90)
        assert not phone.pushes, phone.pushes
        asked = lab.requests.count("POST", "*/vzdump")
        await phone.press(push, "Back up now")
        await phone.push("Backup is made", "101")
        await phone.push("Backup is made", "110")
        assert lab.requests.count("POST", "*/vzdump") == asked + 2
        await phone.press(push, "Back up now")
        await phone.push("Nothing is overdue any more")
        assert not await patient.fired()  # what it knows is too new, after each restart again
    await well(hass)


async def _known(house: House) -> bool:
    """Backups are read after the guests."""
    return await house.hass.state("proxmox_lab_guest_101_last_backup") not in {"absent", "unknown", "unavailable"}


async def looks(robot: Robot) -> str:
    """When it looked last."""
    traces = await robot.hass.call(robot.hass.ha.traces, robot.id)
    return max(str(one["timestamp"]["start"]) for one in traces if one["trigger"] == "time pattern")


async def _looked(robot: Robot, before: str) -> bool:
    return await looks(robot) > before


async def backup(house: House, vmid: int) -> None:
    """Somebody makes one."""
    await house.hass.call(house.hass.ha.publish, f"proxmox/lab/guest/{vmid}/command", "backup")


def writes(expression: str) -> list[dict[str, Any]]:
    """Extra actions: it is written into a text field."""
    data = {"entity_id": NOTE, "value": f"{{{{ {expression} }}}}"}
    return [{"action": "input_text.set_value", "data": data}]


async def noted(house: House, text: str) -> bool:
    return bool((await house.hass.states())[NOTE]["state"] == text)
