"""APPROVAL_MQTT=broker: a name counts only at a broker that lets nobody, ourselves included, write under another."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.approvals import Approvals, Decider, Grant
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.embedded_mosquitto import acl
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import MqttSettings, Settings
from proxmox_mcp.check.approving import check_approvals
from tests.approvals.making import AGENT, SETTINGS, pending, request
from tests.approvals.over_mqtt import client, desk, until
from tests.support.mosquitto import Mosquitto

BOUND = replace(SETTINGS, mqtt="broker")
USERS = {"proxmox-bridge": "b-secret", "alice": "a-secret", "agent": "c-secret", "mallory": "m-secret"}
DOC = Path(__file__).parents[2] / "docs" / "approvals.md"


def documented() -> str:
    found = re.search(r"```\n(# acl_file.*?)```", DOC.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto", users=USERS, acl=documented()) as broker:
        yield broker


async def test_with_the_documented_acl_a_name_is_its_user_s(tmp_path: Path, guarded: Mosquitto) -> None:
    async with (
        Approvals(tmp_path, BOUND) as approvals,
        desk(approvals, guarded.options) as one,
        client(guarded.options_for("mallory")) as mallory,
        client(guarded.options_for("alice")) as alice,
    ):
        await until(lambda: not one.problem, f"the broker is not taken as bound: {one.problem}")
        waits = await pending(approvals)
        await until(lambda: alice.published(waits.id))
        digest = request(approvals).digest
        assert mallory.bus
        topic = f"proxmox/lab/approval/{waits.id}/decision/alice"
        with pytest.raises(Exception, match="refused the publish"):
            await mallory.bus.publish(topic, b'{"decision":"approve"}')
        answer = await mallory.answer(waits.id, "mallory", decision="approve", digest=digest)
        assert "no approver" in answer["error"]
        answer = await alice.answer(waits.id, "alice", decision="approve", digest=digest)
        assert (answer["ok"], answer["by"]) == (True, "alice")
        assert await approvals.obtain(request(approvals), given=waits.id) == Grant(waits.id, "alice", "broker")


async def test_the_requester_is_refused_under_its_own_user_too(tmp_path: Path, guarded: Mosquitto) -> None:
    principal = replace(AGENT, name="alice")
    async with (
        Approvals(tmp_path, BOUND) as approvals,
        desk(approvals, guarded.options),
        client(guarded.options_for("alice")) as alice,
    ):
        waits = await pending(approvals, principal)
        answer = await alice.answer(waits.id, "alice", decision="approve", digest=request(approvals, principal).digest)
        assert "requester is never the approver" in answer["error"]


async def test_what_was_asked_over_mqtt_is_not_approved_by_a_name_alone(tmp_path: Path, guarded: Mosquitto) -> None:
    """Whoever sent the command is not known to us, so it may have been the same user."""
    principal = replace(AGENT, name="mqtt", channel="mqtt")
    async with (
        Approvals(tmp_path, BOUND) as approvals,
        desk(approvals, guarded.options),
        client(guarded.options_for("alice")) as alice,
    ):
        waits = await pending(approvals, principal)
        answer = await alice.answer(waits.id, "alice", decision="approve", digest=request(approvals, principal).digest)
        assert "does not say by whom" in answer["error"]
        await approvals.decide(waits.id, "approve", Decider("alice", "secret"))


@pytest.mark.parametrize(
    ("text", "protocol", "why"),
    [
        (None, "5", "lets our own user decide in anybody's name"),  # no ACL: every user may write anything
        (
            "user proxmox-bridge\ntopic readwrite #\npattern write proxmox/+/approval/+/decision/%u\n",
            "5",
            "our own user",
        ),
        ("user proxmox-bridge\ntopic readwrite #\n", "3.1.1", "needs MQTT 5"),
    ],
)
async def test_where_it_cannot_be_known_nobody_approves(
    tmp_path: Path, text: str | None, protocol: str, why: str
) -> None:
    """A shared user, or a broker without an ACL: the name in the topic is anybody's."""
    rules = text and text + "\nuser alice\ntopic readwrite #\n"
    async with (
        Mosquitto(tmp_path / "mosquitto", users=USERS, acl=rules) as open_broker,
        Approvals(tmp_path, BOUND) as approvals,
        desk(approvals, replace(open_broker.options, protocol=protocol)) as one,  # type: ignore[arg-type]
        client(open_broker.options_for("alice")) as alice,
    ):
        assert why in one.problem
        waits = await pending(approvals)
        answer = await alice.answer(waits.id, "alice", decision="approve", digest=request(approvals).digest)
        assert why in answer["error"]
        assert (await alice.answer(waits.id, "alice", decision="reject"))["ok"]


async def test_our_own_mosquitto_is_known_to_bind_and_amqtt_not_to(tmp_path: Path) -> None:
    users = {"bridge": "x", "homeassistant": "y", "automation": "z"}
    people = replace(BOUND, approvers=(replace(SETTINGS.approvers[0], name="homeassistant"),))
    async with (
        Mosquitto(tmp_path / "mosquitto", users=users, acl=acl("proxmox")) as ours,
        Approvals(tmp_path, people) as approvals,
        client(ours.options_for("homeassistant")) as home,
        client(ours.options_for("automation")) as automation,
    ):
        waits = await pending(approvals)
        said: dict[str, Any] = {"digest": request(approvals).digest}
        async with desk(approvals, ours.options, bound=False) as one:
            assert "no ACL" in one.problem
            assert not (await home.answer(waits.id, "homeassistant", decision="approve", **said))["ok"]
        async with desk(approvals, ours.options, bound=True):
            assert isinstance(automation.bus, Broker)
            with pytest.raises(Exception, match="refused the publish"):
                await automation.say(waits.id, "homeassistant", decision="approve", **said)
            assert (await home.answer(waits.id, "homeassistant", decision="approve", **said))["ok"]


@pytest.mark.parametrize("guards", [True, False])
async def test_check_says_whether_the_broker_binds_names(tmp_path: Path, guards: bool) -> None:
    rules = documented() if guards else "user proxmox-bridge\ntopic readwrite #\n"
    async with Mosquitto(tmp_path / "mosquitto", users=USERS, acl=rules) as broker:
        mqtt = MqttSettings("127.0.0.1", broker.port, "proxmox-bridge", Secret(USERS["proxmox-bridge"]))
        approvers, bound = await check_approvals(Settings(mqtt=mqtt, approval=BOUND), 15)
    assert approvers.detail == "alice, bob"
    assert bound.ok is guards
    assert guards or "docs/approvals.md" in bound.detail


async def test_check_says_that_nobody_can_approve() -> None:
    (found,) = await check_approvals(Settings(), 15)
    assert found.ok is None
    assert "nobody is configured" in found.detail
