"""`proxmox/<site>/notify` on a real Mosquitto: told through real HTTP services, each one's outcome as the answer."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.audit.trail import Audit
from mqtt_bridge.model import BridgeInfo, utc
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.notifying.request import LARGEST, MESSAGE, NotifyRequestError, read_request
from mqtt_bridge.notifying.requests import NotifyRequests
from mqtt_bridge.topics import Topics
from tests.notify.parts import Service, running, until
from tests.support.mosquitto import Mosquitto

NAMES = Topics()
ASK = "proxmox/lab/notify"


@dataclass
class Desk:
    """Who asks, what was answered, and the services that are told."""

    broker: Mosquitto
    bus: Broker
    a: Service
    b: Service
    requests: NotifyRequests
    messages: list[Message] = field(default_factory=list)

    async def say(self, payload: bytes | str | dict[str, Any], topic: str = ASK, *, retain: bool = False) -> None:
        raw = json.dumps(payload).encode() if isinstance(payload, dict) else payload
        await self.bus.publish(topic, raw.encode() if isinstance(raw, str) else raw, retain=retain)

    def answers(self, identity: str) -> list[dict[str, Any]]:
        return [json.loads(m.payload) for m in self.messages if m.topic == f"proxmox/lab/result/{identity}"]

    async def ask(self, identity: str, **fields: Any) -> dict[str, Any]:
        before = len(self.answers(identity))
        await self.say({"message": "Hello", "id": identity, **fields})
        await until(lambda: len(self.answers(identity)) > before)
        return self.answers(identity)[-1]

    @property
    def told(self) -> list[str]:
        return [got.title for got in self.a.got]


@asynccontextmanager
async def serving(requests: NotifyRequests, options: BrokerOptions) -> AsyncIterator[None]:
    task = asyncio.create_task(requests.run(options))
    try:
        await until(lambda: requests.listening)
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with AsyncExitStack() as stack:
        a, b = [await stack.enter_async_context(Service(name)) for name in ("A", "B")]
        broker = await stack.enter_async_context(Mosquitto(tmp_path / "m"))
        got: list[Message] = []

        def take(messages: Sequence[Message]) -> None:
            got.extend(messages)

        bus = await stack.enter_async_context(Broker(broker.options, take))
        await bus.wait_connected()
        await bus.subscribe(["proxmox/+/result/#"], qos=1)
        ports = {"A": a.port, "B": b.port}
        journal, notify = await stack.enter_async_context(running(tmp_path / "journal.db", broker.options, ports))
        requests = NotifyRequests(notify, journal, NAMES, "main", Audit(tmp_path), ["lab"])
        await stack.enter_async_context(serving(requests, broker.options))
        yield Desk(broker, bus, a, b, requests, got)


async def test_each_channel_is_answered_for(desk: Desk) -> None:
    answer = await desk.ask("one", title="Doors", message="They are open", severity="warning")
    outcomes = {name: outcome["status"] for name, outcome in answer["channels"].items()}
    assert (outcomes, answer["ok"], answer["bridge"]) == ({"A": "delivered", "B": "delivered"}, True, "main")
    assert (desk.told, desk.a.kinds) == (["Doors"], ["message"])


async def test_what_fails_is_told_as_it_is(desk: Desk) -> None:
    desk.a.status, desk.b.status = 401, 503
    answer = await desk.ask("two")
    assert answer["ok"] is False
    assert {name: one["status"] for name, one in answer["channels"].items()} == {"A": "refused", "B": "waiting"}
    assert answer["channels"]["A"]["detail"] == "A says 401. Correct its address."
    assert "B says 503" in answer["channels"]["B"]["detail"]


async def test_only_the_channels_that_are_named(desk: Desk) -> None:
    answer = await desk.ask("three", channels=["b", "PAGER"])
    assert {name: one["status"] for name, one in answer["channels"].items()} == {"B": "delivered", "PAGER": "refused"}
    assert "there are A, B" in answer["channels"]["PAGER"]["detail"]
    assert (answer["ok"], desk.a.got, len(desk.b.got)) == (False, [], 1)


def announced(bridge: str, *notifiers: str, sites: tuple[str, ...] = ()) -> bytes:
    info = BridgeInfo(version="1", started_at="", bridge=bridge, instance=bridge, sites=sites,
                      notifiers=dict.fromkeys(notifiers, "ok"))  # fmt: skip
    return info.payload()


async def another(desk: Desk, bridge: str, *notifiers: str, state: str = "online", sites: tuple[str, ...] = ()) -> None:
    """A process with notifiers of its own says so, before anything that follows."""
    await desk.say(announced(bridge, *notifiers, sites=sites), f"proxmox/bridge/{bridge}/info")
    await desk.say(state, f"proxmox/bridge/{bridge}/state")


async def test_an_answer_names_the_processes_that_answer_for_themselves(desk: Desk) -> None:
    await another(desk, "main-notify", "EMAIL", "NTFY")
    await another(desk, "gone", "APPRISE", state="offline")
    await another(desk, "elsewhere", "WEBHOOK", sites=("other",))
    answer = await desk.ask("four")
    assert set(answer["channels"]) == {"A", "B"}
    assert (answer["ok"], answer["elsewhere"]) == (True, {"main-notify": ["EMAIL", "NTFY"]})
    some = await desk.ask("five", channels=["a", "email", "PAGER"])
    assert {name: one["status"] for name, one in some["channels"].items()} == {"A": "delivered", "PAGER": "refused"}
    assert some["elsewhere"] == {"main-notify": ["EMAIL"]}


async def test_what_is_for_another_process_alone_is_left_to_it(desk: Desk) -> None:
    await another(desk, "main-notify", "EMAIL")
    await desk.say({"message": "Hello", "id": "theirs", "channels": ["email"]})
    await desk.ask("ours")
    assert desk.answers("theirs") == []
    await another(desk, "main-notify", "EMAIL", state="offline")
    answer = await desk.ask("nobodys", channels=["email"])
    assert answer["channels"]["email"]["status"] == "refused"


async def test_what_was_told_is_in_the_audit_file(desk: Desk) -> None:
    await desk.ask("six", sender="n8n", title="Doors", message="x" * 500 + " password=hunter2")
    again = await desk.ask("six", sender="n8n", title="Doors", message="x" * 500 + " password=hunter2")
    assert again["repeated"] is True
    lines = desk.requests.audit.path.read_text()
    intent, outcome = (json.loads(line) for line in lines.splitlines())
    assert (intent["event"], intent["id"], intent["principal"]) == ("notify.intent", "six", "n8n")
    assert (intent["channel"], intent["bridge"], intent["site"]) == ("mqtt", "main", "lab")
    assert (intent["channels"], intent["title"], intent["text"]) == (["A", "B"], "Doors", "x" * 200)
    assert (outcome["event"], outcome["outcomes"]) == ("notify.outcome", {"A": "delivered", "B": "delivered"})


async def test_without_a_record_nothing_is_told(desk: Desk) -> None:
    desk.requests.audit.path.mkdir()
    answer = await desk.ask("seven")
    assert (answer["ok"], "audit file" in answer["error"], desk.told) == (False, True, [])


async def test_plain_text_is_the_message_and_gets_no_answer(desk: Desk) -> None:
    await desk.say("The washing machine is done")
    await until(lambda: desk.told == ["Message"])
    assert desk.messages == []


async def test_the_same_id_with_the_same_text_is_told_once(desk: Desk) -> None:
    first, again = await desk.ask("four"), await desk.ask("four")
    assert (first["repeated"], again["repeated"], again["ok"]) == (False, True, True)
    assert len(desk.told) == 1
    assert (await desk.ask("four", message="Other"))["repeated"] is False
    assert len(desk.told) == 2


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"message": ""}, "message"),
        ({"message": "x" * (MESSAGE + 1)}, "message"),
        ({"severity": "loud"}, "severity"),
        ({"colour": "red"}, "colour: no such field"),
        ({"ts": utc(time.time() - 3600)}, "ts: it was sent "),
        ({"ts": "yesterday"}, "ts: give a time"),
        ({"channels": []}, "names no channel"),
    ],
)
async def test_what_is_wrong_is_answered_with_the_field(desk: Desk, fields: dict[str, Any], says: str) -> None:
    answer = await desk.ask("five", **fields)
    assert (answer["ok"], answer["channels"]) == (False, {})
    assert says in answer["error"]
    assert desk.told == []


async def test_what_the_broker_had_stored_is_not_told(desk: Desk) -> None:
    await desk.say({"message": "Old", "id": "six"}, retain=True)
    await until(lambda: desk.requests.stats["dropped"] == 1)
    await desk.broker.restart()
    await asyncio.sleep(1)
    assert (desk.told, desk.answers("six")) == ([], [])


async def test_of_another_site_it_is_somebody_elses(desk: Desk) -> None:
    await desk.say({"message": "x", "id": "seven"}, "proxmox/other/notify")
    await desk.ask("seven")
    assert len(desk.told) == 1
    assert [m.topic for m in desk.messages] == ["proxmox/lab/result/seven"]


async def test_more_than_so_many_a_minute_are_refused(desk: Desk) -> None:
    desk.requests.a_minute = 3
    found = [await desk.ask(f"n{number}") for number in range(5)]
    assert [one["ok"] for one in found] == [True, True, True, False, False]
    assert "More than 3 requests within a minute" in found[-1]["error"]
    assert len(desk.told) == 3


async def test_one_slow_service_holds_up_no_other_request(desk: Desk) -> None:
    desk.b.gate = asyncio.Event()
    await desk.say({"message": "slow", "id": "s", "channels": ["B"]})
    await desk.ask("quick", channels=["A"])
    assert desk.answers("s") == []
    desk.b.gate.set()
    await until(lambda: desk.answers("s"))
    assert desk.answers("s")[0]["ok"] is True


@pytest.mark.parametrize(
    ("topic", "answered"),
    [
        ("proxmox/lab/result/mine/x", True),
        ("proxmox/lab/guest/100/command", False),
        ("homeassistant/device/x/config", False),
        ("proxmox/lab/result", True),
    ],
)
async def test_an_answer_goes_below_result_and_nowhere_else(desk: Desk, topic: str, answered: bool) -> None:
    await desk.bus.subscribe(["#"])
    request = Message(ASK, b'{"message": "x"}', response_topic=topic, correlation_data=b"c7")
    desk.requests.take([request])
    await until(lambda: desk.told)
    await desk.ask("later")
    if answered:
        await until(lambda: any(m.topic == topic for m in desk.messages))
    found = [m for m in desk.messages if m.topic == topic]
    assert [m.correlation_data for m in found][:1] == ([b"c7"] if answered else [])


def test_what_is_no_request_at_all() -> None:
    for payload in (b"", b"   ", b"\xff\xfe", b"{", b'{"a": [', b"x" * (LARGEST + 1), b'{"message": ["x"]}', b"{}"):
        with pytest.raises(NotifyRequestError):
            read_request(payload)
    assert read_request(b'["a list is no object"]').message == '["a list is no object"]'
    with pytest.raises(NotifyRequestError) as caught:
        read_request(b'{"id": "known", "message": 5}')
    assert caught.value.identity == "known"
