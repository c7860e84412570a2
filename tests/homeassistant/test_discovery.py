"""What is at the broker, after what happened."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from mqtt_bridge.homeassistant import discovery as module
from mqtt_bridge.homeassistant.discovery import Discovery
from mqtt_bridge.homeassistant.guest_rows import EVENTS as GUEST_EVENTS
from mqtt_bridge.homeassistant.thing import Thing
from mqtt_bridge.mqtt.bus import Bus, Message
from mqtt_bridge.mqtt.loopback import Loopback
from mqtt_bridge.topics import DiscoveryTopics
from tests.homeassistant.things import ALL, AUDITOR, around, cluster, guest, node, storage
from tests.support.processes import until

GUEST = "proxmox_lab_guest_100"


@dataclass
class Broker:
    """A loopback that tells what is retained on discovery topics, and everything that was published there."""

    bus: Bus
    loopback: Loopback
    seen: list[tuple[str, Any]] = field(default_factory=list)
    triggers: dict[str, Any] = field(default_factory=dict)  # by device and key, as they are now
    order: list[str] = field(default_factory=list)  # of all topics
    whole: set[str] = field(default_factory=set)

    def take(self, messages: Sequence[Message]) -> None:
        for message in messages:
            levels = message.topic.split("/")
            value = json.loads(message.payload) if message.payload else None
            self.order.append(message.topic)
            if levels[1] == "device_automation":
                self.triggers["/".join(levels[2:4])] = value
            else:
                self.seen.append((levels[2] if levels[1] == "device" else message.topic, value))

    def config(self, identity: str = GUEST) -> Any:
        return next((config for one, config in reversed(self.seen) if one == identity), None)

    def all_of(self, identity: str = GUEST) -> list[Any]:
        return [config for one, config in self.seen if one == identity]

    def discovery(self, *entities: str, **more: Any) -> Discovery:
        return Discovery(DiscoveryTopics(), around(*entities, **more), lambda: self.whole)


@pytest.fixture
async def broker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Broker]:
    for name, value in {"SETTLE": 0.1, "EVERY": 0.01, "PARENTS": 0.02, "QUIET": 0.1, "LOOK": 0.1}.items():
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr(module, "JITTER", (0.0, 0.1))
    loopback = Loopback()
    async with loopback.client() as other:
        broker = Broker(other, loopback)
        async with loopback.client(broker.take) as reader:
            await reader.subscribe(["homeassistant/#"])
            yield broker


class Running:
    """`async with` it: a discovery at work on a connection of its own."""

    def __init__(self, broker: Broker, discovery: Discovery, *things: Thing, sites: Sequence[str] = ("lab",)) -> None:
        self.broker, self.discovery, self.sites = broker, discovery, sites
        put(discovery, *things)

    async def __aenter__(self) -> Discovery:
        self._client = self.broker.loopback.client(self.discovery.take)
        bus = await self._client.__aenter__()
        self._task = asyncio.create_task(self.discovery.run(bus, self.sites))
        return self.discovery

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])
        await self._client.__aexit__(None, None, None)


def put(discovery: Discovery, *things: Thing) -> None:
    for thing in things:
        discovery.changed(thing.key.topic, thing.state, thing.key.ids)


def drop(discovery: Discovery, thing: Thing) -> None:
    discovery.changed(thing.key.topic, None, thing.key.ids)


async def settled(discovery: Discovery) -> None:
    """Nothing is due, and nothing will be."""
    quiet = 0
    while quiet < 5:
        quiet = 0 if discovery.info().waiting else quiet + 1
        await asyncio.sleep(0.1)


async def test_parents_first_and_nothing_twice(broker: Broker) -> None:
    things = guest(), storage(), node(), cluster()
    async with Running(broker, broker.discovery(), *things) as discovery:
        await until(lambda: len(broker.seen) == 4)
        assert [one for one, _ in broker.seen] == [
            "proxmox_lab_cluster", "proxmox_lab_node_pve1", GUEST, "proxmox_lab_storage_pve1_local__2e_lvm",
        ]  # fmt: skip
        put(discovery, guest(status="stopped"))
        await settled(discovery)
        assert len(broker.seen) == 4
        assert discovery.info().devices == 4
        put(discovery, guest(node="pve2"))
        await until(lambda: broker.config()["dev"]["via_device"] == "proxmox_lab_node_pve2")


async def test_what_is_gone_sheds_its_entities_and_is_cleared(broker: Broker) -> None:
    async with Running(broker, broker.discovery(), guest()) as discovery:
        await until(broker.config)
        drop(discovery, guest())
        await until(lambda: len(broker.all_of()) == 3)
        first, second, last = broker.all_of()
        assert last is None
        assert second["cmps"]["status"]["uniq_id"] == first["cmps"]["status"]["uniq_id"] + "_gone"
        assert "en" not in second["cmps"]["status"]
        assert second["dev"] == first["dev"]
        await settled(discovery)
        assert len(broker.all_of()) == 3


@pytest.mark.parametrize("back", [guest(type="lxc"), guest()], ids=["another type", "the same again"])
async def test_what_comes_back_is_another_device(broker: Broker, back: Thing) -> None:
    async with Running(broker, broker.discovery(), guest()) as discovery:
        await until(broker.config)
        if back.variant == "qemu":
            drop(discovery, guest())
        put(discovery, back)
        await until(lambda: None in broker.all_of() and broker.config() is not None)
        assert broker.config()["dev"]["mdl_id"] == f"{back.variant}/100"


async def test_another_type_came_while_we_were_away(broker: Broker) -> None:
    async with Running(broker, broker.discovery(), guest()):
        await until(broker.config)
    async with Running(broker, broker.discovery(), guest(type="lxc")) as discovery:
        await until(lambda: (broker.config() or guest_of("none"))["dev"]["mdl_id"] == "lxc/100")
        await settled(discovery)
    assert None in broker.all_of(), "it is another device"
    broker.seen.clear()
    async with Running(broker, broker.discovery(), guest(type="lxc")) as discovery:
        await until(lambda: discovery.info().devices)
        await settled(discovery)
    assert None not in broker.all_of(), "and stays that one"


def guest_of(kind: str) -> Any:
    return {"dev": {"mdl_id": kind}}


async def test_components_that_go_are_emptied_first(broker: Broker) -> None:
    async with Running(broker, broker.discovery(), guest()):
        await until(broker.config)
    broker.seen.clear()
    async with Running(broker, broker.discovery("!guest/cpu", mqtt_allow="read"), guest()) as discovery:
        await until(lambda: broker.all_of()[1:] and "power" not in broker.config()["cmps"])
        await settled(discovery)
    shedding, emptied, last = (config["cmps"] for config in broker.all_of()[-3:])
    assert shedding["cpu"]["uniq_id"].endswith("_gone")
    assert emptied["cpu"] == {"p": "sensor"}
    assert emptied["power"] == {"p": "switch"}
    assert not {"cpu", "power", "reboot"} & set(last)
    assert "memory" in last


async def test_what_an_earlier_run_left_is_cleared_once_all_was_seen(broker: Broker) -> None:
    async with Running(broker, broker.discovery(), guest(), guest(101, name="web02")):
        await until(lambda: len(broker.seen) == 2)
    await broker.bus.publish("homeassistant/device/zigbee_1/config", b'{"dev":{}}', retain=True)
    await broker.bus.publish("homeassistant/device/proxmox_other_guest_1/config", b'{"dev":{}}', retain=True)
    async with Running(broker, broker.discovery(), guest()) as discovery:
        await settled(discovery)
        assert broker.config("proxmox_lab_guest_101") is not None, "not everything was seen yet"
        broker.whole.add("lab")
        await until(lambda: broker.config("proxmox_lab_guest_101") is None)
        await settled(discovery)
    assert broker.config("zigbee_1") == broker.config("proxmox_other_guest_1") == {"dev": {}}
    assert broker.config() is not None


@pytest.mark.parametrize(
    ("identity", "origin"),
    [
        ("proxmox_lab_guest_7", {"name": "another program"}),
        ("proxmox_lab_guest", {"name": "proxmox-mcp"}),
        ("proxmox_lab_guest_100_7", {"name": "proxmox-mcp"}),
    ],
    ids=["of another program", "without its name", "with too long a name"],
)
async def test_what_is_none_of_ours_is_left_alone(broker: Broker, identity: str, origin: dict[str, str]) -> None:
    """Also where its id looks like one of ours."""
    config = {"dev": {"ids": [identity]}, "o": origin, "cmps": {"x": {"p": "sensor"}}}
    await broker.bus.publish(f"homeassistant/device/{identity}/config", json.dumps(config).encode(), retain=True)
    broker.whole.add("lab")
    discovery = broker.discovery()
    discovery._awaited = lambda key: bool(key.ids) and False
    async with Running(broker, discovery, guest()) as discovery:
        await until(broker.config)
        await asyncio.sleep(0.5)  # some looks at what was left
        await settled(discovery)
        put(discovery, guest(101, name="web02"))
        await until(lambda: broker.config("proxmox_lab_guest_101"))
    assert broker.config(identity) == config


async def test_home_assistant_starts(broker: Broker) -> None:
    async with Running(broker, broker.discovery(), guest()) as discovery:
        await until(broker.config)
        await settled(discovery)
        await broker.bus.publish("homeassistant/status", b"offline")
        await settled(discovery)
        assert len(broker.all_of()) == 1
        await broker.bus.publish("homeassistant/status", b"online")
        await until(lambda: len(broker.all_of()) == 2)
        assert broker.all_of()[0] == broker.all_of()[1]


async def test_several_births_at_once_are_answered_once(broker: Broker) -> None:
    async with Running(broker, broker.discovery(), guest()) as discovery:
        await until(broker.config)
        await settled(discovery)
        births = [Message("homeassistant/status", b"online", 1)] * 20
        discovery.take(births)
        await until(lambda: len(broker.all_of()) == 2)
        await settled(discovery)
        assert len(broker.all_of()) == 2
        discovery.take(births)
        await until(lambda: len(broker.all_of()) == 3)


async def test_what_one_site_lacks_is_still_said_when_another_gets_its_rights(broker: Broker) -> None:
    granted = {"lab": AUDITOR, "home": AUDITOR}
    discovery = broker.discovery()
    discovery._around = _with(discovery, granted.__getitem__)
    async with Running(broker, discovery, node("pve1"), node("pve9", "home"), sites=["lab", "home"]):
        await until(lambda: discovery.info().devices == 2)
        assert "node/updates: Sys.Modify on /nodes" in discovery.info().not_created
        granted["home"] = ALL
        await until(lambda: "updates" in broker.config("proxmox_home_node_pve9")["cmps"])
        assert "node/updates: Sys.Modify on /nodes" in discovery.info().not_created
        granted["lab"] = ALL
        await until(lambda: not discovery.info().not_created)


async def test_a_right_that_is_lost_takes_nothing_away(broker: Broker) -> None:
    granted = [ALL]
    discovery = broker.discovery()
    discovery._around = _with(discovery, lambda _: granted[0])
    async with Running(broker, discovery, node()):
        await until(lambda: broker.config("proxmox_lab_node_pve1"))
        granted[0] = AUDITOR
        await settled(discovery)
        assert "updates" in broker.config("proxmox_lab_node_pve1")["cmps"]
    late = broker.discovery()
    late._around = _with(late, lambda _: granted[0])
    async with Running(broker, late, node("pve2")):
        await until(lambda: broker.config("proxmox_lab_node_pve2"))
        assert "updates" not in broker.config("proxmox_lab_node_pve2")["cmps"]
        await until(lambda: "node/updates: Sys.Modify on /nodes" in late.info().not_created)
        granted[0] = ALL
        await until(lambda: "updates" in broker.config("proxmox_lab_node_pve2")["cmps"])
        await until(lambda: not late.info().not_created)


def _with(discovery: Discovery, granted: Callable[[str], Any]) -> Any:
    return replace(discovery._around, granted=granted)


async def test_triggers_have_topics_of_their_own(broker: Broker) -> None:
    """And the device is cleared after them: Home Assistant keeps one that has triggers."""
    async with Running(broker, broker.discovery(), guest()) as discovery:
        await until(lambda: broker.triggers.get(f"{GUEST}/on_migrated"))
        assert set(broker.triggers) == {f"{GUEST}/on_{word}" for word in GUEST_EVENTS}
        told = broker.triggers[f"{GUEST}/on_migrated"]
        assert (told["pl"], told["t"], told["type"]) == ("migrated", "proxmox/lab/guest/100/event", "migrated")
        assert told["dev"] == {"ids": [GUEST], "name": "web01"}
        before = len(broker.order)
        put(discovery, guest(status="stopped"))
        await settled(discovery)
        assert len(broker.order) == before
        put(discovery, guest(name="www"))
        await until(lambda: broker.triggers[f"{GUEST}/on_migrated"]["dev"]["name"] == "www")
        drop(discovery, guest())
        await until(lambda: broker.config() is None)
        assert not any(broker.triggers.values())
        assert broker.order[-1] == f"homeassistant/device/{GUEST}/config"
    async with Running(broker, broker.discovery(), guest()):
        await until(lambda: any(broker.triggers.values()))
    async with Running(broker, broker.discovery("!*/event"), guest()) as discovery:
        await until(lambda: not any(broker.triggers.values()))
        await settled(discovery)
        assert broker.config() is not None


async def test_triggers_that_an_earlier_version_had_in_the_device(broker: Broker) -> None:
    """They go first: Home Assistant refuses a second one of a kind."""
    topic = f"homeassistant/device/{GUEST}/config"
    old = {"dev": {"ids": [GUEST]}, "o": {"name": "proxmox-mcp"}, "cmps": {"on_started": {"p": "device_automation"}}}
    await broker.bus.publish(topic, json.dumps(old).encode(), retain=True)
    async with Running(broker, broker.discovery(), guest()):
        await until(lambda: broker.triggers.get(f"{GUEST}/on_started"))
    gone = next(
        i for i, config in enumerate(broker.all_of()) if config["cmps"].get("on_started") and "cpu" in config["cmps"]
    )
    assert broker.all_of()[gone]["cmps"]["on_started"] == {"p": "device_automation"}
    first = next(i for i, one in enumerate(broker.order) if "device_automation" in one)
    assert broker.order[:first].count(topic) >= 2, "the old one, and without its triggers"


async def test_many_take_their_time(broker: Broker) -> None:
    module_batch = module.BATCH
    things = [guest(vmid, name=f"g{vmid}") for vmid in range(100, 100 + 3 * module_batch)]
    async with Running(broker, broker.discovery(), *things) as discovery:
        await until(lambda: len(broker.seen) == len(things))
        await settled(discovery)
        assert len(broker.seen) == len(things)
