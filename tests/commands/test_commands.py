"""Commands on a real Mosquitto, with an entry that does as it is told: refusals, order, floods, answers."""

import asyncio
import json
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mqtt_bridge.actions import ActionError
from mqtt_bridge.audit.trail import AuditError
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.commanding.commands import ANSWERS
from mqtt_bridge.commanding.lanes import IN_A_LANE
from mqtt_bridge.commanding.request import LARGEST
from mqtt_bridge.errors import BridgeError, PolicyError, UnknownTargetError, UnreachableError
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.targets import DatastoreRef, GuestRef, NodeRef, SiteRef
from tests.commands.desk import GUEST, Desk, asked, open_desk
from tests.support.mosquitto import Mosquitto
from tests.support.processes import until


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "m") as broker:
        yield broker


@pytest.fixture
async def desk(mosquitto: Mosquitto, tmp_path: Path) -> AsyncIterator[Desk]:
    async with open_desk(mosquitto.options, tmp_path / "state") as one:
        yield one


def records(desk: Desk) -> list[dict[str, Any]]:
    path = desk.state / "audit.jsonl"
    assert not path.exists() or verify(path).ok
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


# --- what is done ----------------------------------------------------------------------------------------------------


async def test_a_word_alone_is_done_and_answered_under_an_id_made_up(desk: Desk) -> None:
    await desk.say("start")
    answer = await desk.answer()
    assert len(answer["id"]) == 32
    expected = {
        "ok": True, "status": "done", "refused": None, "bridge": "main", "site": "lab", "target": "100",
        "command": "start", "action": "guest.start", "state_before": "stopped", "state_after": "running",
    }  # fmt: skip
    assert {name: answer[name] for name in expected} == expected
    (call,) = desk.entry.calls
    assert (call.principal.name, call.principal.channel, call.principal.level) == ("mqtt", "mqtt", "exec")
    assert (call.action, call.target) == ("guest.start", GuestRef(100, "lab"))


async def test_what_json_asks_for_reaches_the_entry_and_its_claims_the_audit_file(desk: Desk) -> None:
    answer = await desk.order(
        "shutdown", force=True, args={"overrule_shutdown": True}, reason="too hot", who="ann", wait=False, timeout=5,
        dry_run=True, approval="ab" * 16,
    )  # fmt: skip
    assert (answer["action"], answer["ok"]) == ("guest.stop", True)
    (call,) = desk.entry.calls
    said = {name: value for name, value in call.options.items() if name != "on_progress"}
    assert said == {
        "args": {"overrule_shutdown": True}, "wait": False, "timeout": 5.0, "dry_run": True, "approval": "ab" * 16,
        "reason": "ann: too hot",
    }  # fmt: skip
    (record,) = records(desk)
    assert record["event"] == "command.received"
    assert record["claims"] == {"who": "ann", "reason": "too hot"}
    assert (record["id"], record["action"], record["target"], record["bare"]) == (
        answer["id"],
        "guest.stop",
        "100",
        False,
    )


@pytest.mark.parametrize(
    ("topic", "command", "action", "target"),
    [
        ("node/pve1", "wakeonlan", "node.wakeonlan", NodeRef("pve1", "lab")),
        ("datastore/store-1", "verify", "datastore.verify", DatastoreRef("store-1", "lab")),
        ("guest/101", "snapshot", "snapshot.create", GuestRef(101, "lab")),
    ],
)
async def test_each_kind_of_target(desk: Desk, topic: str, command: str, action: str, target: object) -> None:
    assert (await desk.order(command, f"proxmox/lab/{topic}/command"))["ok"] is True
    assert [(call.action, call.target) for call in desk.entry.calls] == [(action, target)]


async def test_a_site(desk: Desk) -> None:
    assert (await desk.order("sweep", "proxmox/lab/command"))["ok"] is True
    assert [(call.action, call.target) for call in desk.entry.calls] == [("site.sweep", SiteRef("lab"))]


async def test_other_sites_commands_are_not_ours(desk: Desk) -> None:
    await desk.say("start", "proxmox/other/guest/100/command")
    await desk.say("start")
    await desk.answer()
    await asyncio.sleep(0.2)
    assert (len(desk.entry.calls), desk.commands.stats["received"]) == (1, 1)


async def test_maintenance_begins_and_ends_without_proxmox(desk: Desk) -> None:
    begun = await desk.order("maintenance", "proxmox/lab/node/pve1/command", args={"duration": "30m"}, who="ann")
    assert begun["ok"], begun
    assert "node pve1" in begun["message"]
    held = await desk.commands._carrier.maintenance.active()
    assert [(one.scope, one.target, one.by) for one in held] == [("node", "pve1", "ann (MQTT)")]
    assert 1700 < held[0].until - held[0].since <= 1800
    assert (await desk.order("maintenance_end", "proxmox/lab/node/pve1/command"))["status"] == "done"
    assert await desk.commands._carrier.maintenance.active() == []
    again = await desk.order("maintenance_end", "proxmox/lab/node/pve1/command")
    assert (again["status"], again["refused"]) == ("refused", "not_possible")
    assert desk.entry.calls == []


async def test_maintenance_of_a_tag_and_by_a_word_alone(desk: Desk) -> None:
    await desk.say("maintenance", "proxmox/lab/command")
    assert (await desk.answer())["ok"] is True
    assert (await desk.order("maintenance", "proxmox/lab/command", args={"tag": "prod"}))["ok"] is True
    held = {(one.scope, one.target) for one in await desk.commands._carrier.maintenance.active()}
    assert held == {("site", ""), ("tag", "prod")}


@pytest.mark.parametrize("args", [{"duration": "soon"}, {"duration": True}, {"colour": 1}, {"tag": 5}])
async def test_maintenance_with_wrong_arguments(desk: Desk, args: dict[str, Any]) -> None:
    answer = await desk.order("maintenance", "proxmox/lab/command", args=args)
    assert (answer["status"], answer["ok"]) == ("refused", False)
    assert await desk.commands._carrier.maintenance.active() == []


async def test_a_dry_run_of_maintenance_notes_nothing(desk: Desk) -> None:
    assert (await desk.order("maintenance", "proxmox/lab/command", dry_run=True))["status"] == "dry_run"
    assert await desk.commands._carrier.maintenance.active() == []


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        ("strat", "unknown_word"),
        ("stop", "bare_word"),
        (b"x" * (LARGEST + 1), "too_large"),
        (b"{ not json", "not_json"),
        (b"\xff", "not_json"),
        ({"command": "start"}, "wrong"),
        (lambda: asked(ts=time.time() - 3600), "stale"),
        (lambda: asked(force=True), "wrong"),
        (lambda: asked(colour="red"), "wrong"),
    ],
)
async def test_what_is_refused_says_why(desk: Desk, payload: Any, code: str) -> None:
    await desk.say(payload() if callable(payload) else payload)
    answer = await desk.answer()
    assert (answer["status"], answer["refused"], answer["ok"], answer["changed"]) == ("refused", code, False, False)
    assert answer["message"]
    assert desk.commands.stats[f"refused.{code}"] == 1
    assert desk.entry.calls == []
    assert records(desk) == []


@pytest.mark.parametrize("topic", ["guest/web01", "guest/99", "guest/0100", "node/-x", "datastore/ä"])
async def test_topics_that_name_nothing(desk: Desk, topic: str) -> None:
    command = "start" if topic.startswith("guest") else "wakeonlan"
    answer = await desk.order(command, f"proxmox/lab/{topic}/command")
    assert (answer["refused"], desk.entry.calls) == ("unknown_target", [])


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (PolicyError("No.", cure="Set MQTT_ALLOW=change."), "refused", "policy"),
        (UnknownTargetError("There is no guest 100."), "refused", "unknown_target"),
        (ActionError("It is a template."), "refused", "not_possible"),
        (AuditError("Disk full."), "refused", "audit"),
        (UnreachableError("No answer."), "failed", None),
        (BridgeError("Odd."), "unknown", None),
        (ZeroDivisionError(), "unknown", None),
    ],
)
async def test_what_the_entry_refuses_is_told(desk: Desk, error: Exception, status: str, code: str | None) -> None:
    desk.entry.raises = error
    answer = await desk.order()
    assert (answer["ok"], answer["status"], answer["refused"]) == (False, status, code)
    assert (getattr(error, "message", "went wrong inside") in answer["message"], answer["hint"]) == (
        True, getattr(error, "cure", "")
    )  # fmt: skip
    desk.entry.raises = None
    assert (await desk.order())["ok"] is True, "the next one is done"


async def test_an_id_is_good_for_one_command(desk: Desk) -> None:
    one = asked()
    await desk.say(one)
    assert (await desk.answer(0, one["id"]))["ok"] is True
    await desk.say({**one, "command": "reboot"})
    again = await desk.answer(1, one["id"])
    assert (again["refused"], again["status"]) == ("repeated", "refused")
    assert [call.action for call in desk.entry.calls] == ["guest.start"]


async def test_stored_messages_are_no_commands_not_even_while_we_listen(
    desk: Desk, mosquitto: Mosquitto, tmp_path: Path
) -> None:
    await desk.say("start", retain=True)
    answer = await desk.answer()
    assert (answer["refused"], GUEST in answer["hint"]) == ("retained", True)
    await desk.say(asked(), retain=True)
    assert (await desk.answer(1))["refused"] == "retained"
    assert desk.entry.calls == []
    async with open_desk(mosquitto.options, tmp_path / "second") as later:
        assert (await later.order("reboot"))["ok"] is True
        await until(lambda: later.entry.calls)  # the answer may be the other one's
        assert [call.action for call in later.entry.calls] == ["guest.reboot"], "what was stored did not come"
        before = len(desk.answers())
        await desk.say(b"", retain=True)
        await until(lambda: later.commands.stats["empty"] == 1)
        await desk.order("reboot")
        assert len({a["id"] for a in desk.answers()[before:]}) == 1, "clearing one is no command, and no mistake"


async def test_what_a_bridged_broker_has_stored_is_no_command(desk: Desk, mosquitto: Mosquitto, tmp_path: Path) -> None:
    """It is sent again at each connection of the two, long after it was meant."""
    lines = [
        "connection up", f"address 127.0.0.1:{mosquitto.port}", "topic proxmox/# out 1", "restart_timeout 1",
        "bridge_protocol_version mqttv50",
    ]  # fmt: skip
    async with Mosquitto(tmp_path / "other", config=lines, persistence=True) as other:
        async with Broker(other.options) as there:
            await there.wait_connected()
            await there.publish(GUEST, b"shutdown", retain=True)
            assert (await desk.answer())["refused"] == "retained"
        await other.restart()
        assert (await desk.answer(1))["refused"] == "retained"
    assert desk.entry.calls == []


async def test_a_publisher_that_sends_what_it_had_queued_is_too_late(desk: Desk, mosquitto: Mosquitto) -> None:
    """A durable sender, or a flow that catches up, sends its words after an hour: the time in them is old."""
    late = [asked("reboot", ts=time.time() - 3600), asked("reboot", ts=time.time() - 61)]
    await mosquitto.restart()
    await desk.bus.wait_connected(1)
    await desk.bus.subscribe(["proxmox/+/result/#"], qos=1)
    await until(lambda: desk.commands.listening == 2)
    fresh = asked()
    for one in (*late, fresh):
        await desk.say(one)
    assert (await desk.answer(0, fresh["id"]))["ok"] is True
    assert [(await desk.answer(0, one["id"]))["refused"] for one in late] == ["stale", "stale"]
    assert [call.action for call in desk.entry.calls] == ["guest.start"]


async def test_nothing_is_kept_for_us_while_we_are_away(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with open_desk(mosquitto.options, tmp_path / "a") as away:
        pass
    async with Broker(mosquitto.options) as bus:
        await bus.wait_connected()
        await bus.publish(GUEST, b"reboot")
        await bus.publish(GUEST, json.dumps(asked("reboot")).encode())
    async with open_desk(mosquitto.options, tmp_path / "a") as back:
        assert (await back.order())["ok"] is True
        assert [call.action for call in back.entry.calls] == ["guest.start"]
    assert away.entry.calls == []


async def test_over_3_1_1_a_word_alone_is_refused_and_json_is_not(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with open_desk(replace(mosquitto.options, protocol="3.1.1"), tmp_path / "a") as desk:
        await desk.say("start")
        answer = await desk.answer()
        assert (answer["refused"], desk.entry.calls) == ("bare_word", [])
        assert '"command": "start"' in answer["hint"]
        assert (await desk.order())["ok"] is True
        one = asked("reboot")
        await desk.say(one, retain=True)
        assert (await desk.answer(0, one["id"]))["ok"] is True, "it is new, though it is stored: this cannot be seen"
    async with open_desk(replace(mosquitto.options, protocol="3.1.1"), tmp_path / "b") as later:
        answer = await later.answer(0, one["id"])
        assert (answer["refused"], later.entry.calls) == ("retained", [])


# --- order, floods ---------------------------------------------------------------------------------------------------


async def test_two_commands_for_one_guest_are_done_one_after_the_other(desk: Desk) -> None:
    desk.entry.gate.clear()
    first, second, other = asked("start"), asked("shutdown"), asked("start")
    for one in (first, second):
        await desk.say(one)
    await desk.say(other, "proxmox/lab/guest/101/command")
    await until(lambda: len(desk.entry.calls) == 2)
    assert sorted(call.target.vmid for call in desk.entry.calls) == [100, 101]
    assert [call.action for call in desk.entry.calls] == ["guest.start"] * 2
    desk.entry.gate.set()
    assert (await desk.answer(0, second["id"]))["ok"] is True
    assert [call.action for call in desk.entry.calls] == ["guest.start", "guest.start", "guest.shutdown"]


async def test_a_flood_is_refused_and_counted(desk: Desk) -> None:
    desk.entry.gate.clear()
    many = IN_A_LANE + 5
    for _ in range(many):
        await desk.say(asked())
    await until(lambda: len(desk.answers()) == 5)
    assert [a["refused"] for a in desk.answers()] == ["busy"] * 5
    desk.entry.gate.set()
    await until(lambda: desk.commands.stats["done"] == IN_A_LANE)
    assert (len(desk.entry.calls), desk.commands.stats["refused.busy"]) == (IN_A_LANE, 5)


async def test_a_flood_over_many_guests_has_an_end_and_few_run_at_once(desk: Desk) -> None:
    desk.entry.gate.clear()
    for vmid in range(1000, 1000 + 150):
        await desk.say(asked(), f"proxmox/lab/guest/{vmid}/command")
    await until(lambda: desk.commands.stats["refused.busy"] == 50 and desk.entry.under_way == 8)
    desk.entry.gate.set()
    await until(lambda: desk.commands.stats["done"] == 100)
    assert desk.entry.most == 8


async def test_the_same_word_twice_is_one(desk: Desk) -> None:
    desk.entry.gate.clear()
    await desk.say("reboot")
    await until(lambda: desk.entry.calls)
    await desk.say("reboot")
    assert (await desk.answer())["refused"] == "repeated"
    desk.entry.gate.set()
    assert (await desk.answer(1))["ok"] is True
    assert len(desk.entry.calls) == 1


async def test_what_waited_too_long_is_not_meant_any_more(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.commanding.carry.PATIENCE", -1.0)
    assert (await desk.order())["refused"] == "expired"
    assert desk.entry.calls == []


async def test_refusals_that_nobody_takes_are_counted_only(desk: Desk) -> None:
    for _ in range(ANSWERS + 20):
        desk.commands.take([Message(GUEST, b"{")])
    assert desk.commands.stats["unanswered"] == 20
    await until(lambda: len(desk.answers()) == ANSWERS)


# --- where it goes ---------------------------------------------------------------------------------------------------


async def request(mosquitto: Mosquitto, one: dict[str, Any], topic: str, seconds: int = 10) -> str:
    """As an MQTT 5 client does that waits for the answer: its correlation data and payload."""
    words = ["-h", "127.0.0.1", "-p", str(mosquitto.port), "-V", "5", "-q", "1", "-W", str(seconds), "-F", "%t %D %p"]
    words += ["-t", GUEST, "-e", topic, "-m", json.dumps(one), "-D", "publish", "correlation-data", "c-17"]
    process = await asyncio.create_subprocess_exec("mosquitto_rr", *words, stdout=PIPE)
    said, _ = await process.communicate()
    return said.decode()


async def test_the_response_topic_gets_it_too_with_its_correlation_data(desk: Desk, mosquitto: Mosquitto) -> None:
    one = asked()
    topic, correlation, payload = (await request(mosquitto, one, "proxmox/lab/result/n8n/5")).split(" ", 2)
    assert (topic, correlation) == ("proxmox/lab/result/n8n/5", "c-17")
    assert (json.loads(payload)["ok"], json.loads(payload)["id"]) == (True, one["id"])
    await until(lambda: len(desk.messages) == 2)
    assert {m.topic for m in desk.messages} == {f"proxmox/lab/result/{one['id']}", "proxmox/lab/result/n8n/5"}
    assert {m.correlation_data for m in desk.messages} == {b"c-17"}
    assert [m.qos for m in desk.messages] == [1, 1]


@pytest.mark.parametrize(
    "topic", ["homeassistant/device/x/config", "proxmox/lab/guest/101/command", "proxmox/lab/results"]
)
async def test_other_response_topics_are_not_written_to(desk: Desk, mosquitto: Mosquitto, topic: str) -> None:
    one = asked()
    assert await request(mosquitto, one, topic, seconds=2) == ""
    answer = await desk.answer(0, one["id"])
    assert answer["ok"] is True
    assert "proxmox/lab/result or below it" in answer["hint"]
    await desk.order()
    assert len(desk.entry.calls) == 2, "and nothing came of it as a command"


async def test_nor_is_one_with_wildcards(desk: Desk) -> None:
    desk.commands.take([Message(GUEST, b"start", response_topic="proxmox/lab/result/#")])
    assert "or below it" in (await desk.answer())["hint"]


async def test_progress_is_told_where_it_is_asked_for(desk: Desk) -> None:
    look = SimpleNamespace(upid="UPID:x", elapsed=1.0, line=None)
    desk.entry.looks = [look, look]
    one = asked(progress=True)
    await desk.say(one)
    await desk.answer(2, one["id"])
    assert [(a["status"], a["upid"]) for a in desk.answers(one["id"])] == [
        ("accepted", None), ("running", "UPID:x"), ("done", None)
    ]  # fmt: skip
    assert len([a for a in desk.answers() if a["id"] == (one["id"])]) == 3
    assert (await desk.order())["status"] == "done"


async def test_an_approval_that_is_needed_says_how_to_go_on(desk: Desk) -> None:
    approval = {"id": "ab" * 16, "expires_at": "2026-11-21T10:15:00Z", "approvers": ["ann"], "reason": "destroy"}
    desk.entry.more = {"status": "approval_required", "ok": False, "approval": approval, "hint": "Ask ann."}
    answer = await desk.order()
    assert (answer["ok"], answer["status"], answer["approval"]["id"]) == (False, "approval_required", "ab" * 16)
    assert answer["hint"].startswith("Ask ann. Over MQTT: send the same command again with a new id")
    assert "ab" * 16 in answer["hint"]


async def test_details_come_along_without_secrets_and_never_what_a_command_printed(desk: Desk) -> None:
    desk.entry.more = {"details": {"vmid": 105, "password": "hunter2", "stdout": "root:x:0"}}
    assert (await desk.order("snapshot"))["details"] == {"vmid": 105, "password": "********", "stdout": "root:x:0"}
    ran = await desk.order("exec", args={"argv": ["cat", "/etc/passwd"]})
    assert (ran["ok"], ran["details"]) == (True, {})
    assert "is not told over MQTT" in ran["hint"]
    assert not [m for m in desk.messages if b"hunter2" in m.payload]
    desk.entry.more = {"details": {"text": "x" * 40_000}}
    assert (await desk.order("snapshot"))["details"] == {}


async def test_an_answer_waits_for_the_broker(desk: Desk, mosquitto: Mosquitto) -> None:
    desk.entry.gate.clear()
    one = asked()
    await desk.say(one)
    await until(lambda: desk.entry.calls)
    await mosquitto.stop()
    desk.entry.gate.set()
    await until(lambda: desk.entry.ended)
    await mosquitto.start()
    generation = await desk.bus.wait_connected(1)
    await desk.bus.subscribe(["proxmox/+/result/#"], qos=1)
    assert generation > 1
    await until(lambda: not desk.commands._answers)


async def test_the_bridges_end_in_the_middle_is_told(mosquitto: Mosquitto, tmp_path: Path) -> None:
    async with open_desk(mosquitto.options, tmp_path / "state") as desk:
        desk.entry.gate.clear()
        desk.entry.looks = [SimpleNamespace(upid="UPID:x", elapsed=1.0, line=None)]
        first, second, unknown = asked("start"), asked("shutdown"), asked("start")
        await desk.say(first)
        await desk.say(second)
        await until(lambda: desk.entry.calls and len(desk.commands._lanes) == 2)
        desk.entry.looks = []
        await desk.say(unknown, "proxmox/lab/guest/101/command")
        await until(lambda: len(desk.entry.calls) == 2)
        async with Broker(mosquitto.options, desk.messages.extend) as watching:
            await watching.wait_connected()
            await watching.subscribe(["proxmox/+/result/#"], qos=1)
            desk.messages.clear()
            (task,) = [t for t in asyncio.all_tasks() if "Commands.run" in repr(t.get_coro())]
            task.cancel()
            await asyncio.wait([task])
            answers = {one["id"]: await desk.answer(0, one["id"]) for one in (first, second, unknown)}
    assert (answers[first["id"]]["status"], answers[first["id"]]["upid"]) == ("started", "UPID:x")
    assert "runs on in Proxmox" in answers[first["id"]]["message"]
    assert answers[second["id"]]["refused"] == "ending"
    assert answers[unknown["id"]]["status"] == "unknown"


# --- whatever comes --------------------------------------------------------------------------------------------------

LEVEL = st.text("abc/é .-+1", min_size=1, max_size=8)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(["guest/100", "guest/x", "node/pve1", "datastore/s", "x/y/z", ""]),
    payload=st.binary(max_size=40)
    | st.sampled_from([b"start", b"stop", b"{}", b'{"command":"start","id":"a","ts":1}']),
    retain=st.booleans(),
    response=st.none() | LEVEL,
)
async def test_whatever_comes_has_an_answer_or_is_counted(
    desk: Desk, kind: str, payload: bytes, retain: bool, response: str | None
) -> None:
    stats = desk.commands.stats
    before, answered = sum(stats.values()), len(desk.messages)
    topic = "/".join(part for part in ("proxmox/lab", kind, "command") if part)
    desk.commands.take([Message(topic, payload, 1, retain, response, b"c")])
    if kind == "x/y/z":
        assert sum(stats.values()) == before
    elif not payload:
        assert sum(stats.values()) == before + 2
    else:
        await until(lambda: len(desk.messages) > answered)
        await until(lambda: sum(stats.values()) == before + 2)
