"""Blueprints with a person at the other end: approving from the phone, a UPS, a snapshot before an update."""

import json
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from mqtt_bridge.approvals.proofs import key_of
from tests.approvals.making import SECRETS
from tests.e2e.homeassistant.blueprints import Phone, Robot, automation, plays, ready, script, well
from tests.e2e.homeassistant.conftest import House
from tests.support.services import NTFY_TOKEN, NtfyServer

SHOWN = "Approve? "
CODES = "alices-own"
FORGER = "somebody_else"


@dataclass
class People:
    """A house whose bridge has approvers, and what its phone is told."""

    house: House
    phone: Phone
    ntfy: NtfyServer
    person: str
    commands: list[str] = field(default_factory=list)

    async def order(self, place: str, command: str, **more: Any) -> str:
        """As a button of Home Assistant sends it; gives the command's id."""
        given = f"e2e-{secrets.token_hex(6)}"
        body = {"command": command, "id": given, "ts": time.time(), "who": "Home Assistant", **more}
        await self.house.hass.call(self.house.hass.ha.publish, f"proxmox/lab/{place}command", body)
        return given

    async def waiting(self) -> dict[str, dict[str, Any]]:
        """What is published as waiting, by id."""
        kept = await self.house.hass.call(self.house.hass.ha.retained, "proxmox/lab/approval/+")
        return {topic.rpartition("/")[2]: json.loads(text) for topic, text in kept.items()}

    async def code(self, given: str) -> str:
        """The one-time code that alice was sent for it."""

        def sent() -> list[str]:
            told = [one.json for one in self.ntfy.asked if one.method in {"POST", "PUT"}]
            return [one["message"] for one in told if one["topic"] == CODES and given in one["message"]]

        async def come() -> bool:
            return bool(sent())

        await self.house.hass.until(come, "alice got no code")
        return sent()[-1].splitlines()[0].rpartition(": ")[2]

    async def asked(self, place: str, command: str) -> tuple[str, dict[str, Any]]:
        """Something that needs an approval; gives its id and the notification."""
        self.phone.forget()
        await self.order(place, command)
        push = await self.phone.push(SHOWN, place.split("/")[1])
        return str(push["data"]["tag"]).removeprefix("proxmox-approval-"), push

    async def cleared(self, given: str) -> None:
        """Wait until the notification is taken away."""

        async def gone() -> bool:
            told = self.phone.told("clear_notification")
            return any(one["data"]["tag"] == f"proxmox-approval-{given}" for one in told)

        await self.house.hass.until(gone, f"the notification stays: {self.phone.pushes}")


@pytest.fixture
async def people(house: House, phone: Phone) -> AsyncIterator[People]:
    hass = house.hass
    await ready(house)
    (person,) = [name for name in await hass.states() if name.startswith("person.")]
    ntfy = NtfyServer(topics=(CODES,))
    async with ntfy.running():
        approvers = f"alice:sha256:{key_of(SECRETS['alice'])};ntfy={CODES},bob:sha256:{key_of(SECRETS['bob'])}"
        await house.restart(
            APPROVERS=approvers, APPROVAL_MQTT="proof", NTFY_SERVER_URL=ntfy.url, NTFY_TOKEN=NTFY_TOKEN
        )
        await ready(house)
        yield People(house, phone, ntfy, person)


async def gone(people: People, vmid: int) -> bool:
    """Whether a guest's device is."""
    return f"proxmox_lab_guest_{vmid}" not in await people.house.hass.devices()


@asynccontextmanager
async def forger(people: People) -> AsyncIterator[Any]:
    """An automation that says what the app says when a button is pressed."""
    hass = people.house.hass

    async def forge(action: str, **more: Any) -> None:
        action_of = {
            "event": "mobile_app_notification_action",
            "event_data": {"action": action, "device_id": "harness", **more},
        }
        body = {"triggers": [{"trigger": "event", "event_type": FORGER}], "actions": [action_of]}
        await hass.call(hass.ha.automation_raw, FORGER, body)
        await hass.call(hass.ha.wait_state, f"automation.{FORGER}", "on")
        await hass.call(hass.ha.fire_event, FORGER)
        await hass.call(hass.ha.wait_trace, FORGER)

    try:
        yield forge
    finally:
        await hass.call(hass.ha.delete_automation, FORGER)


async def test_approving_by_a_code(people: People) -> None:
    house, phone, hass = people.house, people.phone, people.house.hass
    stopped = [vmid for vmid, one in house.lab.world.guests.items() if not one.running and not one.template]
    vmid = stopped[0]
    wanted = {"phone": phone.device_id, "person": people.person, "approver": "alice"}
    async with automation(hass, "approval", **wanted), forger(people) as forge:
        given, push = await people.asked(f"guest/{vmid}/", "delete")
        assert "one-time code" in push["message"], push
        assert "Home Assistant" in push["message"]
        approve, reject = push["data"]["actions"]
        assert (approve["title"], approve["behavior"], reject["title"]) == ("Approve", "textInput", "Reject")
        code = await people.code(given)
        await forge(approve["action"], reply_text=code)
        await phone.press(push, "Approve", reply_text="WRON-GONE")
        wrong = await phone.push("Not approved", "4 tries are left")
        assert wrong["data"]["actions"] == push["data"]["actions"]
        assert list(await people.waiting()) == [given]  # and what was forged did nothing
        await phone.press(wrong, "Approve", reply_text="")
        await phone.push("Not approved", "No one-time code")
        await phone.press(wrong, "Approve", reply_text=code.lower())
        await phone.push("Approved", "press it again")
        await people.cleared(given)
        assert house.lab.requests.count("DELETE", f"*/{vmid}") == 0
        await people.order(f"guest/{vmid}/", "delete")
        await hass.until(lambda: gone(people, vmid), "it is not deleted")
        assert house.lab.requests.count("DELETE", f"*/{vmid}") == 1
        await well(hass)


async def test_an_approval_that_is_over_and_one_that_outlives_restarts(people: People) -> None:
    house, phone, hass = people.house, people.phone, people.house.hass
    wanted = {"phone": phone.device_id, "person": people.person, "approver": "alice"}
    async with automation(hass, "approval", **wanted):
        given, push = await people.asked("node/pve1/", "reboot")
        topic = f"proxmox/lab/approval/{given}/decision/bob"
        await hass.call(hass.ha.publish, topic, {"decision": "reject"})  # elsewhere
        await people.cleared(given)
        await phone.press(push, "Reject")
        await phone.push("Not rejected", "was rejected by bob")

        given, push = await people.asked("node/pve2/", "reboot")
        phone.forget()
        await plays(house)
        again = await phone.push(SHOWN, "pve2")
        assert {one["data"]["tag"] for one in phone.pushes} == {push["data"]["tag"]}, phone.pushes
        assert again["data"]["alert_once"]
        assert list(await people.waiting()) == [given]
        await phone.press(push, "Reject")
        await phone.push("Rejected", "pve2")
        await people.cleared(given)
        phone.forget()
        await plays(house)
        assert not phone.pushes

        await house.restart(APPROVAL_TIMEOUT="30s")
        await ready(house)
        given, push = await people.asked("node/pve3/", "reboot")
        assert 0 < push["data"]["timeout"] <= 31
        await people.cleared(given)
        await phone.press(push, "Approve", reply_text=await people.code(given))
        await phone.push("Not approved", "It is expired")
    assert not house.lab.requests.count("POST", "*/nodes/*/status")
    await well(hass)


async def test_a_press_of_somebody_else_and_a_name_that_is_no_approver(people: People) -> None:
    phone, hass = people.phone, people.house.hass
    stranger = await hass.call(hass.ha.ws, "config/auth/create", name="Stranger")
    made = await hass.call(hass.ha.ws, "person/create", name="Stranger", user_id=stranger["user"]["id"])
    try:
        wanted = {"phone": phone.device_id, "person": f"person.{made['id']}", "approver": "alice"}
        async with automation(hass, "approval", **wanted) as robot:
            before = await robot.fired()
            given, push = await people.asked("node/pve3/", "reboot")
            code = await people.code(given)
            await phone.press(push, "Approve", reply_text=code)
            await phone.press(push, "Reject")
            body = {"decision": "reject"}
            topic = f"proxmox/lab/approval/{given}/decision/bob"
            assert list(await people.waiting()) == [given]
            await hass.call(hass.ha.publish, topic, body)
            await people.cleared(given)
            assert await robot.fired() == before + 2  # it was shown, and taken away
        async with automation(hass, "approval", **{**wanted, "approver": "carol"}):
            given, push = await people.asked("node/pve3/", "reboot")
            assert "carol is no approver" in push["message"]
            assert [one["title"] for one in push["data"]["actions"]] == ["Reject"]
    finally:
        await hass.call(hass.ha.ws, "person/delete", person_id=made["id"])
        await hass.call(hass.ha.ws, "config/auth/delete", user_id=stranger["user"]["id"])
    await well(hass)


# --- a snapshot before an update -------------------------------------------------------------------------------------

UPDATE = "update.nextcloud_version"
REMEMBERED = "input_text.harness_text"


@asynccontextmanager
async def device(house: House, name: str, **components: dict[str, Any]) -> AsyncIterator[None]:
    """Something else in the house, also over MQTT; it may be away (`<name>/here`)."""
    hass = house.hass
    cmps = {
        key: {"uniq_id": f"{name}_{key}", "def_ent_id": f"{one['p']}.{name}_{key}", "avty_t": f"{name}/here",
              "stat_t": f"{name}/{key}", "name": key.title(), **one}
        for key, one in components.items()
    }  # fmt: skip
    config = {"dev": {"ids": [name], "name": name}, "o": {"name": "tests"}, "cmps": cmps}
    await hass.call(hass.ha.publish, f"{name}/here", "online", retain=True)
    await hass.call(hass.ha.publish, f"homeassistant/device/{name}/config", config, retain=True)
    try:
        yield
    finally:
        await hass.call(hass.ha.publish, f"homeassistant/device/{name}/config", None, retain=True)
        for key in ("here", *components):
            await hass.call(hass.ha.publish, f"{name}/{key}", None, retain=True)


async def version(house: House, installed: str, latest: str) -> None:
    """What the thing that is updated says of itself."""
    said = {"installed_version": installed, "latest_version": latest, "in_progress": False, "update_percentage": None}
    await house.hass.call(house.hass.ha.publish, "nextcloud/version", said, retain=True)
    wanted = "off" if installed == latest else "on"
    await house.hass.call(house.hass.ha.wait_state, UPDATE, wanted)


async def test_a_snapshot_before_an_update(house: House, phone: Phone) -> None:
    hass, lab = house.hass, house.lab
    await ready(house)
    guest = (await hass.devices())["proxmox_lab_guest_100"]["id"]
    thing = {"p": "update", "cmd_t": "nextcloud/install", "pl_inst": "do it", "title": "Nextcloud"}
    installs = await hass.call(hass.ha.watch, "nextcloud/install")

    def snapshots() -> list[str]:
        return [one.name for one in lab.guest(100).snapshots if one.name.startswith("ha-")]

    async def press() -> None:
        await hass.call(hass.ha.wait_state, robot.entity, "off", 40)
        phone.forget()
        await hass.call(hass.ha.call_service, "script", "turn_on", {"entity_id": robot.entity})

    async def installed(number: int) -> None:
        async def done() -> bool:
            return len(installs) == number

        await hass.until(done, f"not asked to install {number} times: {phone.pushes}")

    async def removed() -> bool:
        return len(snapshots()) == 1

    wanted = {"update": UPDATE, "guest": guest, "memory": REMEMBERED, "phones": [phone.device_id]}
    await hass.call(hass.ha.call_service, "input_text", "set_value", {"entity_id": REMEMBERED, "value": ""})
    async with device(house, "nextcloud", version=thing), script(hass, "snapshot_before_update", **wanted) as robot:
        await version(house, "31.0.1", "31.0.2")
        lab.fault("task-fail", "qmsnapshot", "no space left")
        await press()
        failed = await phone.push("Nextcloud: not updated", "no space left")
        assert "There is no snapshot" in failed["message"]
        assert not snapshots()

        await press()
        push = await phone.push("Nextcloud 31.0.2: being installed", "Rollback")
        (first,) = snapshots()
        assert first in push["message"]
        await installed(1)  # and none after the failure
        assert lab.requests.count("POST", "*/qemu/100/snapshot") == 2
        await version(house, "31.0.2", "31.0.2")
        await phone.push("Nextcloud 31.0.2: installed", first)

        await version(house, "31.0.2", "31.0.3")
        await press()  # the removal of the first needs an approval
        push = await phone.push("Nextcloud 31.0.3: being installed", f"Not removed: {first}")
        await installed(2)
        assert len(snapshots()) == 2
        await version(house, "31.0.3", "31.0.3")
        await phone.push("Nextcloud 31.0.3: installed")

        await hass.call(hass.ha.wait_state, robot.entity, "off", 40)
        await house.restart(APPROVAL_REQUIRED="exec")
        await ready(house)
        await version(house, "31.0.3", "31.0.4")
        await press()
        await phone.push("Nextcloud 31.0.4: being installed")
        await hass.until(removed, f"snapshots are left: {snapshots()}")
        await installed(3)
        await version(house, "31.0.4", "31.0.4")
        push = await phone.push("Nextcloud 31.0.4: installed")
        assert "Not removed" not in push["message"]
        await plays(house)  # nothing starts it
        assert len(installs) == 3
        assert not lab.requests.count("POST", "*/rollback")


# --- a UPS -----------------------------------------------------------------------------------------------------------

ONLINE, BATTERY = "Online", "On Battery Battery Discharging"  # as Home Assistant shows what NUT says
UPS = {
    "status": {"p": "sensor"},
    "charge": {"p": "sensor", "dev_cla": "battery", "unit_of_meas": "%"},
    "runtime": {"p": "sensor", "dev_cla": "duration", "unit_of_meas": "s"},
}


@dataclass
class Outages:
    """A house with a UPS, whose bridge may shut the site down."""

    house: House
    phone: Phone

    async def says(self, **what: str) -> None:
        """The UPS."""
        hass = self.house.hass
        for key, said in what.items():
            await hass.call(hass.ha.publish, f"ups/{key}", said, retain=True)
            if key != "here":
                await hass.call(hass.ha.wait_state, f"sensor.ups_{key}", said)

    async def shutdown(self) -> dict[str, Any]:
        """What is published of the site's shutdown."""
        kept = await self.house.hass.call(self.house.hass.ha.retained, "proxmox/lab/shutdown")
        found: dict[str, Any] = json.loads(kept["proxmox/lab/shutdown"])
        return found

    async def becomes(self, *states: str) -> None:
        """Wait for one of these."""

        async def is_one() -> bool:
            return (await self.shutdown())["state"] in states

        await self.house.hass.until(is_one, f"the shutdown is none of {states}", 60)

    def asked_down(self) -> int:
        """How many guests and nodes were asked to shut down."""
        count = self.house.lab.requests.count
        return count("POST", "*/status/shutdown") + count("POST", "*/nodes/*/status")

    async def over(self, robot: Robot) -> None:
        """Wait until the automation's run has ended."""
        hass = self.house.hass

        async def ended() -> bool:
            traces = await hass.call(hass.ha.traces, robot.id)
            return not [one for one in traces if one["state"] == "running"]

        await hass.until(ended, "its run does not end", 60)


@pytest.fixture
async def outages(house: House, phone: Phone) -> AsyncIterator[Outages]:
    await house.restart(SITE_SHUTDOWN="true", PROXMOX_SELF_GUESTS="102")
    await ready(house)
    async with device(house, "ups", **UPS):
        found = Outages(house, phone)
        await found.says(status=ONLINE, charge="100", runtime="3000")
        yield found
        await found.says(here="online", status=ONLINE)


@asynccontextmanager
async def guarded(outages: Outages, **more: Any) -> AsyncIterator[Robot]:
    """The automation on this UPS and this site."""
    hass = outages.house.hass
    wanted = {
        "ups": "sensor.ups_status", "charge": "sensor.ups_charge", "runtime": "sensor.ups_runtime",
        "shutdown": (await hass.ids())["proxmox_lab_cluster_shutdown"], "stages": ["web", "db"], "stage_timeout": 60,
        "grace": 30, "stable": 2, "phones": [outages.phone.device_id],
    }  # fmt: skip
    async with automation(hass, "ups_shutdown", **{**wanted, **more}) as robot:
        yield robot
    await well(hass)


async def test_a_ups_that_flaps_and_short_outages(outages: Outages) -> None:
    house, phone = outages.house, outages.phone
    async with guarded(outages) as robot:
        await outages.says(here="offline")
        await outages.says(here="online", status=ONLINE)
        await plays(house)
        assert not phone.pushes

        await outages.says(status=BATTERY)
        push = await phone.push("UPS on battery", "It would shut down")
        assert "With their nodes, last: " in push["message"]
        assert house.lab.guest(102).name in push["message"]
        await outages.says(here="offline")  # the UPS's own server is lost: not back
        await outages.says(here="online", status=ONLINE)
        await phone.push("the power is back", "Nothing was shut down")
        await outages.over(robot)

        phone.forget()
        await outages.says(status=BATTERY)
        await phone.press(await phone.push("UPS on battery"), "Do not shut down")
        await phone.push("nothing is shut down")
        await outages.says(charge="5")
        await outages.says(status=ONLINE, charge="100")
        await outages.over(robot)
        assert (await outages.shutdown())["state"] == "idle"
        assert not outages.asked_down()


async def test_the_power_returns_in_the_middle_of_a_shutdown(outages: Outages) -> None:
    house, phone = outages.house, outages.phone
    web = {v for v, one in house.lab.world.guests.items() if "web" in one.tags.split(";")}
    first = next(v for v in web if house.lab.guest(v).running)
    house.lab.fault("guest-deaf", str(first))
    async with guarded(outages) as robot:
        await outages.says(status=BATTERY)
        await phone.push("UPS on battery")
        await outages.says(runtime="240")
        await phone.push("shutdown started")
        await outages.becomes("running")
        await outages.says(status=ONLINE, runtime="3000")
        await phone.push("the power is back, the shutdown is stopped", "Aborted")
        await outages.becomes("aborted")
        await outages.over(robot)

        phone.forget()
        await outages.says(status=BATTERY)
        await phone.press(await phone.push("UPS on battery"), "Shut down now")
        await phone.press(await phone.push("shutdown started"), "Stop the shutdown")
        await phone.push("asked for on a phone, the shutdown is stopped")
        await outages.becomes("aborted")
        await outages.says(status=ONLINE)
        await outages.over(robot)
    assert not house.lab.requests.count("POST", "*/nodes/*/status")
    assert any(one.running for v, one in house.lab.world.guests.items() if v not in web)


async def test_the_power_does_not_return(outages: Outages) -> None:
    house, phone, hass = outages.house, outages.phone, outages.house.hass
    async with guarded(outages, nodes=False, grace=0.1) as robot:
        await outages.says(status=BATTERY)
        await phone.push("shutdown started")
        await hass.call(hass.ha.restart)  # in the middle of it
        await phone.push("all is down")
        assert (await outages.shutdown())["state"] == "done"
        assert [v for v, one in house.lab.world.guests.items() if one.running] == [102]
        await outages.says(status=ONLINE)
        await outages.over(robot)

        await house.restart(MQTT_ALLOW="operate")
        await ready(house)
        phone.forget()
        await outages.says(status=BATTERY)
        await phone.push("nothing can be shut down", "MQTT_ALLOW")
        await outages.says(status=ONLINE)
