"""Things that happen to guests, nodes, the API, the bridge, the broker and Home Assistant itself."""

import asyncio
import json
import signal
import time
import uuid

from tests.e2e.homeassistant.conftest import DEVICES, House
from tests.e2e.homeassistant.hass import AWAY

RUNNING = "proxmox_lab_guest_100_running"


async def test_a_guest_appears_moves_and_vanishes(house: House) -> None:
    hass, lab = house.hass, house.lab
    await hass.settled(DEVICES)
    before = await hass.ids()
    renamed = "sensor.my_very_own_name"
    await hass.call(
        hass.ha.ws, "config/entity_registry/update", entity_id=before["proxmox_lab_guest_100_cpu"],
        new_entity_id=renamed, name="Mine",
    )  # fmt: skip
    there = "pve2" if lab.guest(100).node != "pve2" else "pve3"
    lab.fault("guest-migrate", "100", there)
    await hass.until(lambda: _child_of(house, "proxmox_lab_guest_100", f"proxmox_lab_node_{there}"), "not moved")
    after = await hass.ids()
    assert after == {**before, "proxmox_lab_guest_100_cpu": renamed}
    await hass.until(lambda: _event(house, "proxmox_lab_guest_100_event", "migrated"), "no event")
    said = lab.fault("guest-create", "qemu")
    vmid = int("".join(c for c in said if c.isdigit())[:3])
    await hass.settled(DEVICES + 1)
    assert await hass.state(f"proxmox_lab_guest_{vmid}_running") == "off"
    lab.fault("guest-destroy", str(vmid))
    lab.fault("guest-destroy", "100")
    await hass.settled(DEVICES - 1)
    assert not any("guest_100_" in key for key in await hass.ids())
    left = await hass.call(hass.ha.retained, "#", 2)
    assert not [topic for topic in left if "/guest/100" in topic or "guest_100" in topic]
    await hass.quiet()


async def test_names_that_people_gave_survive(house: House) -> None:
    """A guest that is renamed in Proxmox and moves, a bridge and a Home Assistant that restart."""
    hass, lab = house.hass, house.lab
    await hass.settled(DEVICES)
    ids, devices = await hass.ids(), await hass.devices()
    device = devices["proxmox_lab_guest_100"]["id"]
    await hass.call(hass.ha.ws, "config/device_registry/update", device_id=device, name_by_user="Shop")
    for key, name in (("cpu", "Load"), ("power", "The switch")):
        entity = ids[f"proxmox_lab_guest_100_{key}"]
        await hass.call(hass.ha.ws, "config/entity_registry/update", entity_id=entity, name=name)
    command = {"command": "update", "id": uuid.uuid4().hex, "ts": time.time(), "args": {"name": "shop02"}}
    await hass.call(hass.ha.publish, "proxmox/lab/guest/100/command", json.dumps(command))
    await hass.until(lambda: _called(house, "shop02"), "not renamed")
    lab.fault("guest-migrate", "100", "pve2" if lab.guest(100).node != "pve2" else "pve3")
    await hass.until(lambda: _event(house, "proxmox_lab_guest_100_event", "migrated"), "no event")
    await house.restart()
    await hass.call(hass.ha.restart)
    await hass.settled(DEVICES, seconds=120)
    assert await hass.ids() == ids
    assert (await hass.devices())["proxmox_lab_guest_100"]["name_by_user"] == "Shop"
    names = {e["unique_id"]: e["name"] for e in await hass.call(hass.ha.entities)}
    assert (names["proxmox_lab_guest_100_cpu"], names["proxmox_lab_guest_100_power"]) == ("Load", "The switch")
    await hass.quiet()


async def test_what_a_token_loses_stays(house: House) -> None:
    hass, lab = house.hass, house.lab
    await hass.settled(DEVICES)
    before = {e["unique_id"]: e["entity_id"] for e in await hass.call(hass.ha.entities)}
    lab.fault("token-strip")
    await asyncio.sleep(5)
    await house.restart()
    await asyncio.sleep(8)
    lab.fault("token-unstrip")
    await hass.settled(DEVICES)
    assert {e["unique_id"]: e["entity_id"] for e in await hass.call(hass.ha.entities)} == before
    await hass.quiet()


async def test_the_api_is_down(house: House) -> None:
    hass = house.hass
    await hass.settled(DEVICES)
    house.lab.fault("api-error", "500")
    await hass.becomes(RUNNING, AWAY)
    await hass.becomes("proxmox_lab_cluster_api", "off")
    assert await hass.state("proxmox_lab_cluster_maintenance") == "off"
    house.lab.fault("api-error", "0")
    await hass.settled(DEVICES)
    await hass.becomes("proxmox_lab_cluster_api", "on")
    await hass.quiet()


async def test_a_node_is_down(house: House) -> None:
    hass, lab = house.hass, house.lab
    await hass.settled(DEVICES)
    node = "pve2"
    mine = {vmid for vmid, guest in lab.world.guests.items() if guest.node == node and not guest.template}
    others = {vmid for vmid, guest in lab.world.guests.items() if guest.node != node and not guest.template}
    assert mine
    lab.fault("node-down", node)
    await hass.becomes(f"proxmox_lab_node_{node}_online", "off")
    for vmid in mine:
        await hass.becomes(f"proxmox_lab_guest_{vmid}_running", AWAY)
    assert not await hass.away(*(f"_guest_{vmid}_" for vmid in others))
    await hass.until(lambda: _event(house, f"proxmox_lab_node_{node}_event", "offline"), "no event")
    assert await hass.state(f"proxmox_lab_storage_{node}_local_problem") == AWAY
    lab.fault("node-up", node)
    await hass.settled(DEVICES)
    await hass.becomes(f"proxmox_lab_node_{node}_online", "on")
    await hass.quiet()


async def test_the_bridge_dies(house: House) -> None:
    hass = house.hass
    await hass.settled(DEVICES)
    before = await hass.ids()
    house.bridge.send(signal.SIGKILL)
    await hass.becomes(RUNNING, AWAY)
    assert await hass.away("") == set(await hass.ids())
    house.bridge.start()
    await hass.settled(DEVICES)
    assert await hass.ids() == before
    await hass.quiet()


async def test_a_guest_goes_while_the_bridge_is_away(house: House) -> None:
    hass = house.hass
    await hass.settled(DEVICES)
    await house.bridge.stop()
    house.lab.fault("guest-destroy", "100")
    house.bridge.start()
    await hass.settled(DEVICES - 1)
    await hass.quiet()


async def test_the_broker_forgets_everything(house: House) -> None:
    hass = house.hass
    await hass.settled(DEVICES)
    before = await hass.ids()
    await hass.call(hass.ha.stop_broker)
    await hass.becomes(RUNNING, AWAY)
    await hass.call(hass.ha.start_broker)
    hass.forget()  # it says that the connection was lost
    await hass.settled(DEVICES, seconds=90)
    assert await hass.ids() == before
    stored = await hass.call(hass.ha.retained, "homeassistant/device/+/config", 2)
    assert len(stored) == DEVICES


async def test_home_assistant_restarts(house: House) -> None:
    hass = house.hass
    await hass.settled(DEVICES)
    before = await hass.ids()
    await hass.call(hass.ha.restart)
    await hass.settled(DEVICES, seconds=90)
    assert await hass.ids() == before
    await hass.quiet()


async def _child_of(house: House, child: str, parent: str) -> bool:
    devices = await house.hass.devices()
    return bool(devices[child]["via_device_id"] == devices[parent]["id"])


async def _called(house: House, name: str) -> bool:
    return bool((await house.hass.devices())["proxmox_lab_guest_100"]["name"] == name)


async def _event(house: House, unique_id: str, kind: str) -> bool:
    entity = (await house.hass.ids())[unique_id]
    return bool((await house.hass.states())[entity]["attributes"].get("event_type") == kind)
