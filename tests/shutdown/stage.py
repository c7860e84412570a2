"""A lab, a Mosquitto and a bridge that may shut the lab's site down; what is said of it is kept in order."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mqtt_bridge.app import Bridge
from mqtt_bridge.audit.verify import verify
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.settings import load
from mqtt_bridge.site_shutdown.service import may
from proxmox_mcp.lab import Lab, LabOptions
from tests.commands.desk import asked
from tests.support.mosquitto import Mosquitto
from tests.support.processes import until
from tests.support.watched import fast

LONG = 60.0  # seconds that a busy machine may need
ALLOWED = {"MQTT_ALLOW": "destroy", "SITE_SHUTDOWN": "true"}
FAST = LabOptions(guests=12, speed=20, pvestatd_interval=0, auth_delay=0.05, dead_node_delay=0.1)
WATCHED = ("proxmox/+/shutdown", "proxmox/+/result/#", "proxmox/+/event/#")


@dataclass
class Stage:
    """`sites` are the slugs; `labs` by them."""

    bus: Broker
    mosquitto: Mosquitto
    folder: Path
    labs: dict[str, Lab]
    env: dict[str, str]
    got: list[Message] = field(default_factory=list)

    @property
    def lab(self) -> Lab:
        return self.labs["lab"]

    # --- what is said ------------------------------------------------------------------------------------------------

    def states(self, site: str = "lab") -> list[dict[str, Any]]:
        return [json.loads(m.payload) for m in self.got if m.topic == f"proxmox/{site}/shutdown" and m.payload]

    def state(self, site: str = "lab") -> dict[str, Any]:
        return next(reversed(self.states(site)), {})

    def events(self, site: str = "lab") -> list[dict[str, Any]]:
        return [json.loads(m.payload) for m in self.got if m.topic.startswith(f"proxmox/{site}/event/")]

    def kinds(self, site: str = "lab") -> list[str]:
        return [event["kind"] for event in self.events(site)]

    async def became(self, state: str, site: str = "lab", *, stage: str | None = None) -> dict[str, Any]:
        """Wait for it."""
        await until(
            lambda: (s := self.state(site)).get("state") == state and (stage is None or s["stage"] == stage),
            LONG,
            lambda: (self.states(site)[-5:], [m for m in self.got if "/result/" in m.topic]),
        )
        return self.state(site)

    async def told(self, kind: str, site: str = "lab") -> dict[str, Any]:
        """Wait for the event: it is stored before the state is published, and sent after it."""
        await until(lambda: kind in self.kinds(site), LONG, lambda: self.kinds(site))
        return next(event for event in self.events(site) if event["kind"] == kind)

    async def order(self, command: str, site: str = "lab", place: str = "", **fields: Any) -> dict[str, Any]:
        """A JSON command to a site, or to a `place` of it, and its answer."""
        return await self.send(asked(command, **fields), site, place)

    async def send(
        self, one: dict[str, Any], site: str = "lab", place: str = "", *, retain: bool = False
    ) -> dict[str, Any]:
        topic = f"proxmox/{site}/result/{one['id']}"
        before = self.answers(topic)
        await self.bus.publish(
            f"proxmox/{'/'.join(filter(None, (site, place)))}/command", json.dumps(one).encode(), retain=retain
        )
        await until(lambda: len(self.answers(topic)) > len(before), LONG, lambda: self.got[-5:])
        return self.answers(topic)[-1]

    def answers(self, topic: str) -> list[dict[str, Any]]:
        return [json.loads(m.payload) for m in self.got if m.topic == topic]

    # --- what was done -----------------------------------------------------------------------------------------------

    def writes(self, site: str = "lab") -> list[str]:
        return [r.path for r in self.labs[site].requests if r.method != "GET"]

    def shut(self, site: str = "lab") -> list[int | str]:
        """What was asked to shut down, in the order in which it was."""
        return [_named(path) for path in self.writes(site) if path.endswith(("/status/shutdown", "/status"))]

    def running(self, site: str = "lab") -> list[int]:
        return [g.vmid for g in self.labs[site].world.sorted_guests() if g.running and not g.template]

    def records(self) -> list[dict[str, Any]]:
        path = self.folder / "state" / "audit.jsonl"
        assert verify(path).ok
        return [json.loads(line) for line in path.read_bytes().splitlines()]

    @asynccontextmanager
    async def bridge(self, **more: str) -> AsyncIterator[Bridge]:
        """One that has polled and listens to commands."""
        async with Bridge(fast(load({**self.env, **more}, search=False))) as running:
            await running.ready()
            await until(lambda: running.commands is not None and running.commands.listening, LONG)
            if may(running.settings.permission):
                await until(lambda: self.state(next(iter(self.labs))), LONG)
            yield running


def _named(path: str) -> int | str:
    parts = path.split("/")
    return int(parts[4]) if parts[-1] == "shutdown" else parts[2]


@asynccontextmanager
async def stage(folder: Path, options: LabOptions = FAST, **more: str) -> AsyncIterator[Stage]:
    """One cluster, the site `lab`."""
    async with Lab(options) as lab, stage_of(folder, {"lab": lab}, lab.env, **more) as found:
        yield found


@asynccontextmanager
async def stage_of(folder: Path, labs: dict[str, Lab], settings: dict[str, str], **more: str) -> AsyncIterator[Stage]:
    got: list[Message] = []
    async with Mosquitto(folder / "mosquitto") as mosquitto, Broker(mosquitto.options, got.extend) as bus:
        await bus.wait_connected()
        await bus.subscribe(list(WATCHED), qos=1)
        env = {"STATE_DIR": str(folder / "state"), "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
        yield Stage(bus, mosquitto, folder, labs, {**settings, **env, **ALLOWED, **more}, got)


def named(lab: Lab, *names: str) -> list[int]:
    """VMIDs of the guests of these names."""
    return [next(g.vmid for g in lab.world.sorted_guests() if g.name == name) for name in names]


def tagged(lab: Lab, tag: str) -> list[int]:
    """Those that run and have it."""
    return [g.vmid for g in lab.world.sorted_guests() if g.running and not g.template and tag in g.tags.split(";")]


def ordered(found: list[int | str], *groups: list[int] | list[str]) -> Iterator[bool]:
    """Whether each group was asked as a whole before the next one."""
    at = 0
    for group in groups:
        yield set(found[at : at + len(group)]) == set(group)
        at += len(group)
    yield at == len(found)
