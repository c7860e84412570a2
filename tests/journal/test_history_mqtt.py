"""Questions over MQTT: by mosquitto_rr, which is nobody of ours, on a real broker; and on the loopback."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.events.history import WAITING, History
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.mqtt.options import Version
from mqtt_bridge.topics import KINDS, TABLE, Topics
from tests.journal.making import event, events, ids, until
from tests.support.mosquitto import Mosquitto

NAMES = Topics()
REQUEST, ANSWER = "proxmox/bridge/main/request/history", "proxmox/bridge/main/response/history"


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    async with Journal(tmp_path / "journal.db") as opened:
        await opened.commit([*events(0, 20), event(30, severity="error", kind="backup.job.failed", guest=100)], {})
        yield opened


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


@asynccontextmanager
async def serving(history: History, bus: Bus) -> AsyncIterator[None]:
    subscribed = asyncio.Event()
    subscribe = bus.subscribe

    async def noticed(*args: Any, **more: Any) -> None:
        await subscribe(*args, **more)
        subscribed.set()

    bus.subscribe = noticed  # type: ignore[method-assign]
    task = asyncio.create_task(history.serve(bus))
    async with asyncio.timeout(30):
        await subscribed.wait()
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def answering(journal: Journal, options: BrokerOptions) -> AsyncIterator[History]:
    history = History(journal, NAMES, "main")
    async with Broker(options, history.take, role="history") as bus:
        await bus.wait_connected()
        async with serving(history, bus):
            yield history


async def request(broker: Mosquitto, answer_to: str, body: object, *more: str) -> bytes:
    """What mosquitto_rr gets within two seconds."""
    words = ["-h", "127.0.0.1", "-p", str(broker.port), "-V", "5", "-t", REQUEST, "-e", answer_to, "-W", "2"]
    process = await asyncio.create_subprocess_exec(
        "mosquitto_rr", *words, "-m", json.dumps(body), *more, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    return (await process.communicate())[0]


def test_the_topics_are_rows_of_the_table() -> None:
    asked, answered = KINDS["history_request"], KINDS["history_answer"]
    assert NAMES.build("history_request", bridge="main") == REQUEST
    assert NAMES.build("history_answer", bridge="main") == ANSWER
    assert (asked.inbound, asked.retain, answered.inbound, answered.retain) == (True, False, False, False)


async def test_the_answer_comes_to_the_response_topic(journal: Journal, mosquitto: Mosquitto) -> None:
    async with answering(journal, mosquitto.options):
        question = {"kind": "backup.*", "severity": "warning", "guest": 100, "id": "q1"}
        format_ = ["-F", "%t %D %r %p"]  # topic, correlation data, retain flag, payload
        words = ["-D", "publish", "correlation-data", "c-17", *format_]
        said = (await request(mosquitto, f"{ANSWER}/me", question, *words)).decode()
        topic, correlation, retain, payload = said.split(" ", 3)
        assert (topic, correlation, retain) == (f"{ANSWER}/me", "c-17", "0")
        answer = json.loads(payload)
        assert (answer["id"], answer["error"], answer["next_cursor"]) == ("q1", None, None)
        assert [one["id"] for one in answer["events"]] == [event(30).id]


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_without_a_response_topic_it_comes_to_the_common_one(
    journal: Journal, mosquitto: Mosquitto, protocol: Version
) -> None:
    got: list[Message] = []
    options = replace(mosquitto.options, protocol=protocol)
    async with answering(journal, options), Broker(options, got.extend) as asking:
        await asking.wait_connected()
        await asking.subscribe([ANSWER], qos=1)
        found: list[str] = []
        cursor: Any = None
        for page in range(3):
            await asking.publish(REQUEST, json.dumps({"limit": 8, "cursor": cursor, "id": str(page)}).encode())
            await until(lambda: got and json.loads(got[-1].payload)["id"] == str(page))  # noqa: B023 -- awaited here
            answer = json.loads(got[-1].payload)
            assert answer["id"] == str(page)
            found += [one["id"] for one in answer["events"]]
            cursor = answer["next_cursor"]
        assert cursor is None
        assert found == ids([event(30), *reversed(events(0, 20))])
        await asking.publish(REQUEST, b'{"limit": "many", "id": "wrong"}')
        await until(lambda: len(got) == 4)
        assert json.loads(got[-1].payload)["error"].startswith("limit")
        assert json.loads(got[-1].payload)["id"] == "wrong"


OTHERS = [NAMES.build(k.name, **dict.fromkeys(k.fields, "main")) for k in TABLE if k.name != "history_answer"]


@pytest.mark.parametrize(
    "topic",
    [
        *OTHERS,
        "homeassistant/device/x/config",
        "zigbee2mqtt/lamp/set",
        "$SYS/x",
        ANSWER + "x",
        "proxmox/bridge/other/response/history",
        ANSWER + "/" + "x" * 600,
        ANSWER + "/+",
        ANSWER + "/#",
        ANSWER + "/a\x01b",
        "",
    ],
)
async def test_no_answer_goes_where_the_requester_may_not_write(journal: Journal, topic: str) -> None:
    history, hub, got = History(journal, NAMES, "main"), Loopback(), list[Message]()
    async with hub.client(history.take) as bus, hub.client(got.extend) as anyone:
        await anyone.subscribe(["#", "$SYS/#"])
        async with serving(history, bus):
            await anyone.publish_many([Message(REQUEST, b"{}", response_topic=topic, correlation_data=b"c")])
            await until(lambda: len(got) == 2)
            assert got[1].topic == ANSWER
            assert got[1].correlation_data == b"c"
            assert json.loads(got[1].payload)["error"].startswith(f"The response topic must be {ANSWER}")
        assert not hub.retained


async def test_a_forged_response_topic_on_a_real_broker(journal: Journal, mosquitto: Mosquitto) -> None:
    async with answering(journal, mosquitto.options) as history:
        assert await request(mosquitto, "proxmox/lab/state", {}) == b""
        assert history.stats["answered"] == 0


async def test_retained_floods_and_large_requests(journal: Journal, mosquitto: Mosquitto) -> None:
    got: list[Message] = []
    async with Broker(mosquitto.options, got.extend) as asking:
        await asking.wait_connected()
        await asking.subscribe([ANSWER], qos=1)
        await asking.publish(REQUEST, b"{}", retain=True)  # from yesterday
        async with answering(journal, mosquitto.options) as history:
            await asyncio.sleep(0.3)
            assert got == []
            await asking.publish(REQUEST, b"x" * 500_000)
            await until(lambda: len(got) == 1)
            assert "larger than 4096" in json.loads(got[0].payload)["error"]
            history.take([Message(REQUEST, b"{}")] * (WAITING * 3))
            assert history.stats["dropped"] >= WAITING * 2
            await until(lambda: len(got) == 1 + WAITING)
            await asking.publish(REQUEST, b"{}")
            await until(lambda: len(got) == 2 + WAITING)


async def test_it_answers_again_after_the_broker_was_away(journal: Journal, mosquitto: Mosquitto) -> None:
    async with answering(journal, mosquitto.options):
        await mosquitto.restart()
        for _ in range(10):
            if said := await request(mosquitto, f"{ANSWER}/me", {"limit": 1}):
                break
        assert len(json.loads(said)["events"]) == 1


async def test_two_buses_need_two_of_them(journal: Journal) -> None:
    history, hub = History(journal, NAMES, "main"), Loopback()
    async with hub.client(history.take) as first, hub.client(history.take) as second, serving(history, first):
        with pytest.raises(RuntimeError, match="another one for the second bus"):
            await history.serve(second)
