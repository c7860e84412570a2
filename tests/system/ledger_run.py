"""One run of the ledger: what is needed to run it, the killing, and the table of what came of it."""

import asyncio
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxmox_mcp.lab import Lab, LabOptions
from tests.support.dovecot import PASSWORD, USER, Dovecot
from tests.support.gotify import CLIENT, Gotify, gotify
from tests.support.https_host import free_port
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, environment, until
from tests.system.ledger_books import PUBLISHED, Account, Collector, account, cursors, journal
from tests.system.ledger_happenings import CHANNELS, NODES, UNACKNOWLEDGED, Channel, Happening
from tests.system.ledger_senders import Ports, Senders

TOKEN = "the-token-of-the-ledger"
KILLS, RESTARTS = 10, 5
AT_ONCE = 24  # happenings that are being told
LOOKS = 3  # a second apart, that find nothing new
SETTLE = 60.0  # seconds for what is accepted to arrive
BASELINE = {"EMAIL:INBOX", "GOTIFY_IN:message", *(f"WEBSOCKET:tasks/lab/{node}" for node in NODES)}
"""At the very first start what is there is no news: until these cursors are written, nothing may happen."""


@dataclass
class Ledger:
    """What was sent, and what came of it."""

    sent: dict[int, Happening]
    accepted: Counter[Channel]
    again: Counter[Channel]
    repeated: Counter[Channel]
    mqtt: Account
    journal: Account
    unpublished: int
    messages: list[tuple[str, dict[str, Any]]]
    kills: int = 0
    restarts: int = 0
    seconds: float = 0.0

    @property
    def reports(self) -> Counter[Channel]:
        return Counter(channel for one in self.sent.values() for channel in one.channels)

    @property
    def differing(self) -> list[str]:
        """Ids that came with several contents."""
        return [event["id"] for _, event in self.messages if event != self.mqtt.events[event["id"]]]

    def table(self) -> str:
        """Numbers for people."""
        head = ("channel", "reports", "accepted", "tried again", "repeated", "ids on MQTT")
        ids = self.mqtt.by_channel
        rows: list[tuple[object, ...]] = [
            (
                one,
                self.reports[one],
                ids[one] if one in UNACKNOWLEDGED else self.accepted[one],
                self.again[one],
                self.repeated[one],
                ids[one],
            )
            for one in CHANNELS
        ]
        rows.append(("all", *(sum(int(str(row[place])) for row in rows) for place in range(1, 6))))
        lines = ["  ".join(f"{cell!s:>12}" for cell in row) for row in (head, *rows)]
        correlations = {one for found in self.mqtt.correlations.values() for one in found}
        facts = (
            f"{len(self.sent)} happenings, {len(correlations)} correlation ids of {len(self.mqtt.correlations)} told, "
            f"{len(self.messages)} messages of {len(self.mqtt.events)} events, {self.kills} kills, "
            f"{self.restarts} restarts of the broker, {self.seconds:.0f} s"
        )
        return "\n".join([*lines, facts])


@dataclass
class Chaos:
    """Kills the bridge and restarts the broker at moments spread over the run. `done` says how far the run is (0-1)."""

    bridge: Command
    broker: Mosquitto
    done: Callable[[], float]
    dice: random.Random
    kills: int = 0
    restarts: int = 0

    async def run(self) -> None:
        """Ten kills and five restarts: at any moment, right after a start, and while the broker is away."""
        deeds = [self._kill] * 5 + [self._kill_twice] * 2 + [self._restart] * 4 + [self._kill_without_broker]
        self.dice.shuffle(deeds)
        for place, deed in enumerate(deeds, 1):
            moment = place / (len(deeds) + 1)
            await until(lambda moment=moment: self.done() >= moment, 300)  # type: ignore[misc]
            await self._wait(0.3)
            await deed()

    async def _wait(self, most: float) -> None:
        await asyncio.sleep(self.dice.uniform(0, most))

    async def _kill(self) -> None:
        self.bridge.send(signal.SIGKILL)
        self.bridge.process.wait()
        self.kills += 1
        await self._wait(0.5)
        self.bridge.start()

    async def _kill_twice(self) -> None:
        await self._kill()
        await self._wait(2)
        await self._kill()

    async def _restart(self) -> None:
        await self.broker.stop()
        await self._wait(0.5)
        await self.broker.start()
        self.restarts += 1

    async def _kill_without_broker(self) -> None:
        await self.broker.stop()
        await self._wait(0.5)
        await self._kill()
        await self._wait(2)
        await self.broker.start()
        self.restarts += 1


@dataclass
class Stage:
    """All that takes part."""

    state: Path
    bridge: Command
    broker: Mosquitto
    senders: Senders
    collector: Collector


@asynccontextmanager
async def stage(folder: Path) -> AsyncIterator[Stage]:
    """The bridge runs and has taken its baseline."""
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(LabOptions(seed=1, speed=20, auth_delay=0.05)))
        queue = ("max_queued_messages 0", "max_queued_bytes 0")  # Mosquitto keeps 1000 for who is away
        broker = await stack.enter_async_context(Mosquitto(folder / "mosquitto", persistence=True, config=queue))
        dovecot = await stack.enter_async_context(Dovecot(folder / "dovecot"))
        server = await stack.enter_async_context(gotify())
        collector = stack.enter_context(Collector(broker.port, folder / "collected"))
        ports = Ports(free_port(), free_port(), free_port())
        state = folder / "state"
        env = _settings(lab, ports, broker, dovecot=dovecot, server=server, state=state)
        bridge = await stack.enter_async_context(Command(folder / "bridge", "mqtt-bridge", "run", env=env))
        senders = await stack.enter_async_context(Senders(ports, TOKEN, lab, dovecot, server))
        await until(lambda: cursors(state) >= BASELINE, why=lambda: bridge.err[-2000:])
        yield Stage(state, bridge, broker, senders, collector)


def _settings(
    lab: Lab, ports: Ports, broker: Mosquitto, *, dovecot: Dovecot, server: Gotify, state: Path
) -> Mapping[str, str]:
    return environment(
        **lab.env,
        STATE_DIR=str(state),
        MQTT_HOST="127.0.0.1",
        MQTT_PORT=str(broker.port),
        POLL_INTERVAL="2",
        POLL_TASKS_INTERVAL="1",
        ENABLED_EVENT_LISTENERS="WEBSOCKET,WEBHOOK,SMTP,SYSLOG,EMAIL,GOTIFY_IN",
        EVENT_WEBHOOK_LISTEN_PORT=str(ports.webhook),
        EVENT_WEBHOOK_TOKEN=TOKEN,
        EVENT_SMTP_LISTEN_PORT=str(ports.smtp),
        EVENT_SYSLOG_LISTEN_PORT=str(ports.syslog),
        EVENT_EMAIL_IMAP_SERVER="127.0.0.1",
        EVENT_EMAIL_IMAP_PORT=str(dovecot.port),
        EVENT_EMAIL_SECURITY="none",
        EVENT_EMAIL_USERNAME=USER,
        EVENT_EMAIL_PASSWORD=PASSWORD,
        GOTIFY_IN_SERVER_URL=server.url,
        GOTIFY_IN_CLIENT_TOKEN=CLIENT,
    )


async def run(folder: Path, count: int, seed: int = 5) -> Ledger:
    """Let `count` things happen, while the bridge is killed and the broker restarted; `seed` chooses the moments."""
    began = time.monotonic()
    async with stage(folder) as on:
        sent: dict[int, Happening] = {}
        chaos = Chaos(on.bridge, on.broker, lambda: len(sent) / count, random.Random(seed))  # noqa: S311 -- moments
        numbers = iter(range(count))

        async def tell_some() -> None:
            for number in numbers:
                one = sent[number] = on.senders.begin(number)
                await asyncio.gather(*(on.senders.tell(one, channel) for channel in one.channels))

        async with asyncio.TaskGroup() as group:
            group.create_task(chaos.run())
            for _ in range(AT_ONCE):
                group.create_task(tell_some())
        await _arrival(on, sent)
        messages = on.collector.messages()
        rows = journal(on.state)
        return Ledger(
            sent=sent,
            accepted=on.senders.accepted,
            again=on.senders.again,
            repeated=on.senders.repeated,
            mqtt=account([event for _, event in messages], sent),
            journal=account([event for _, _, event in rows], sent),
            unpublished=sum(published != PUBLISHED for _, published, _ in rows),
            messages=messages,
            kills=chaos.kills,
            restarts=chaos.restarts,
            seconds=time.monotonic() - began,
        )


async def _arrival(on: Stage, sent: Mapping[int, Happening]) -> None:
    """Until the journal has all that was accepted, the broker has the journal, and both have been quiet."""
    end, quiet, seen = time.monotonic() + SETTLE, 0, (-1, -1)
    while time.monotonic() < end and quiet < LOOKS:
        await asyncio.sleep(1)
        rows = await asyncio.to_thread(journal, on.state)
        got = await asyncio.to_thread(on.collector.messages)
        found = account([event for _, _, event in rows], sent)
        done = not found.lost(list(sent.values())) and all(published for _, published, _ in rows)
        now = (len(rows), len(got))
        quiet, seen = (quiet + 1 if done and now == seen else 0), now
