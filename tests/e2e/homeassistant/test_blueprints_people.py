"""Approving and rejecting on the phone: by a one-time code, and under the broker's access list."""

import json
import re
import secrets
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.approvals import Approvals, Grant, Pending
from mqtt_bridge.approvals.proofs import key_of
from mqtt_bridge.mqtt.embedded_mosquitto import password_line
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings.approving import ApprovalSettings
from tests.approvals.making import SECRETS, pending, request
from tests.e2e.homeassistant.blueprints import Phone, automation, plays, ready, well
from tests.e2e.homeassistant.conftest import House
from tests.e2e.homeassistant.hass import AWAY
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
        await house.restart(APPROVERS=approvers, APPROVAL_MQTT="proof", NTFY_SERVER_URL=ntfy.url, NTFY_TOKEN=NTFY_TOKEN)
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
            began = datetime.now(UTC).isoformat()
            given, push = await people.asked("node/pve3/", "reboot")
            code = await people.code(given)
            await phone.press(push, "Approve", reply_text=code)
            await phone.press(push, "Reject")
            body = {"decision": "reject"}
            topic = f"proxmox/lab/approval/{given}/decision/bob"
            assert list(await people.waiting()) == [given]
            await hass.call(hass.ha.publish, topic, body)
            await people.cleared(given)
            pressed = [one for one in await robot.runs() if "mobile_app" in one["trigger"]]
            assert [one for one in pressed if one["timestamp"]["start"] > began] == []
        async with automation(hass, "approval", **{**wanted, "approver": "carol"}):
            given, push = await people.asked("node/pve3/", "reboot")
            assert "carol is no approver" in push["message"]
            assert [one["title"] for one in push["data"]["actions"]] == ["Reject"]
    finally:
        await hass.call(hass.ha.ws, "person/delete", person_id=made["id"])
        await hass.call(hass.ha.ws, "config/auth/delete", user_id=stranger["user"]["id"])
    await well(hass)


# --- under the broker's access list ----------------------------------------------------------------------------------

USERS = {"homeassistant": "h-secret", "proxmox-bridge": "b-secret"}
DOC = Path(__file__).parents[3] / "docs" / "approvals.md"


def access() -> str:
    """The documented list, with the user `homeassistant` of the same page; who has no name may do all, as elsewhere."""
    blocks = re.findall(r"```\n(# acl_file.*?|user homeassistant.*?)```", DOC.read_text(), re.DOTALL)
    assert len(blocks) == 2
    return "topic readwrite #\n" + "\n".join(blocks)


@asynccontextmanager
async def guard(house: House) -> AsyncIterator[None]:
    """The broker has users and an access list; Home Assistant is one of the users."""
    hass, ha = house.hass, house.hass.ha
    folder = Path(ha.brokerdir)
    (folder / "acl").write_text(access())
    (folder / "users").write_text("".join(password_line(name, Secret(word)) for name, word in USERS.items()))
    for file in ("acl", "users"):
        (folder / file).chmod(0o700)
    with (folder / "mosquitto.conf").open("a") as conf:
        conf.write(f"acl_file {folder}/acl\npassword_file {folder}/users\n")
    ha.broker.send_signal(signal.SIGHUP)
    await hass.call(ha.stop_hass)
    entries = Path(ha.config) / ".storage" / "core.config_entries"
    kept = json.loads(entries.read_text())
    (mqtt,) = [one for one in kept["data"]["entries"] if one["domain"] == "mqtt"]
    mqtt["data"] |= {"username": "homeassistant", "password": USERS["homeassistant"]}
    entries.write_text(json.dumps(kept))
    await hass.call(ha.start_hass)
    try:
        yield
    finally:
        await hass.call(ha.stop_broker)
        await hass.becomes("proxmox_lab_guest_100_running", AWAY)
        await hass.call(ha.start_broker)  # as it was
        await ready(house)
        hass.forget()  # it says that the connection was lost


async def test_approving_under_the_broker_s_access_list(house: House, phone: Phone, tmp_path: Path) -> None:
    hass = house.hass
    await ready(house)
    (person,) = [name for name in await hass.states() if name.startswith("person.")]
    names = ",".join(f"{name}:sha256:{key_of(name)}" for name in ("homeassistant", "alice"))
    ours = {"MQTT_USERNAME": "proxmox-bridge", "MQTT_PASSWORD": USERS["proxmox-bridge"]}
    wanted = {"phone": phone.device_id, "person": person, "approver": "homeassistant"}
    async with guard(house), Approvals(tmp_path / "state", ApprovalSettings()) as approvals:
        await house.restart(APPROVERS=names, APPROVAL_MQTT="broker", **ours)
        await ready(house)
        async with automation(hass, "approval", **wanted):
            waits = await pending(approvals)
            push = await phone.push(SHOWN, "guest 100")
            assert "behavior" not in push["data"]["actions"][0]
            await phone.press(push, "Approve")
            await phone.push("Approved", "Delete a guest")
            used = await approvals.obtain(request(approvals), given=waits.id)
            assert used == Grant(waits.id, "homeassistant", "broker")
            people = People(house, phone, NtfyServer(), person)
            given, push = await people.asked("node/pve3/", "reboot")
            assert "asked for over MQTT: approve it elsewhere" in push["message"]
            assert list(phone.buttons(push)) == ["Reject"]
            await phone.press(push, "Reject")
            await people.cleared(given)
        async with automation(hass, "approval", **{**wanted, "approver": "alice"}):  # another user's name
            waits = await pending(approvals, vmid=101)
            await phone.press(await phone.push(SHOWN, "guest 101"), "Approve")
            await phone.push("Nobody answers")
            assert isinstance(await approvals.obtain(request(approvals, vmid=101), given=waits.id), Pending)
        await well(hass)
