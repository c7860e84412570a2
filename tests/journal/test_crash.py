"""SIGKILL in the middle of commits and publishes; an independent durable subscriber keeps the ledger."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from mqtt_bridge.journal.journal import Journal
from tests.journal.making import event, until
from tests.support.mosquitto import Mosquitto

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}

# Commits numbered events and says each number on standard output after `commit` returned for it. With a port, an
# outbox publishes meanwhile.
WRITER = """
import asyncio, sys
from pathlib import Path
from mqtt_bridge.mqtt.broker import Broker, BrokerOptions
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.events.outbox import Outbox
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import Topics
from tests.journal.making import event

async def write(journal, worker, first, count):
    number, size = first + worker * 100_000, 1
    while number < first + worker * 100_000 + count:
        batch = [event(n) for n in range(number, number + size)]
        await journal.commit(batch, {f"W:{worker}": str(number + size)})
        print(*range(number, number + size), flush=True)
        number, size = number + size, size % 7 + 1
        await asyncio.sleep(0)

async def main(path, port, first, count):
    async with Journal(Path(path)) as journal, Outbox(journal, Retained(Topics())) as outbox:
        async with Broker(BrokerOptions("127.0.0.1", int(port))) as bus, asyncio.TaskGroup() as group:
            if int(port):
                group.create_task(outbox.feed(bus))
            for worker in range(3):
                group.create_task(write(journal, worker, int(first), int(count)))

asyncio.run(main(*sys.argv[1:]))
"""


async def killed_while_writing(tmp_path: Path, port: int, first: int, after: int) -> list[int]:
    """Start a writer, kill it once it has said `after` numbers; returns every number that it said."""
    script = tmp_path / "writer.py"
    script.write_text(WRITER, encoding="utf-8")
    words = [str(script), str(tmp_path / "journal.db"), str(port), str(first), "90000"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *words, stdout=subprocess.PIPE, cwd=ROOT, env=ENVIRONMENT
    )
    assert process.stdout is not None
    said: list[int] = []
    while len(said) < after:
        line = await process.stdout.readline()
        assert line, "the writer ended by itself"
        said += map(int, line.split())
    process.send_signal(signal.SIGKILL)
    rest = (await process.stdout.read()).rpartition(b"\n")[0]  # the last line may be torn
    await process.wait()
    return [*said, *map(int, rest.split())]


async def test_what_commit_returned_for_survives_sigkill(tmp_path: Path) -> None:
    said: list[int] = []
    for run in range(4):
        said += await killed_while_writing(tmp_path, 0, run * 1_000_000, 150 + 170 * run)
    async with Journal(tmp_path / "journal.db", max_events=10**6) as journal:
        assert await journal.known([event(n).id for n in said]) == {event(n).id for n in said}
        stored = {s.id: s.seq for s in await journal.unpublished(0, 10**6)}
        for worker in range(3):  # a cursor is where its events are: committed together, or not at all
            behind = int(await journal.cursor(f"W:{worker}") or 0)
            assert event(behind - 1).id in stored
            assert event(behind).id not in stored
        assert await journal.rows("PRAGMA integrity_check", []) == [("ok",)]


@asynccontextmanager
async def ledger(broker: Mosquitto, file: Path) -> AsyncIterator[None]:
    """mosquitto_sub with a durable session, which comes back by itself after each restart of the broker."""
    words = ["-h", "127.0.0.1", "-p", str(broker.port), "-c", "-i", "ledger", "-q", "1", "-t", "proxmox/+/event/#"]
    with file.open("ab") as out:
        process = await asyncio.create_subprocess_exec("mosquitto_sub", *words, stdout=out, stderr=subprocess.DEVNULL)
    try:
        await until(lambda: "ledger" in broker.log)
        yield
    finally:
        process.terminate()
        await process.wait()


def collected(file: Path) -> Counter[str]:
    lines = file.read_bytes().splitlines()
    return Counter(json.loads(line)["id"] for line in lines if line.endswith(b"}"))


async def test_everything_reaches_a_durable_subscriber_through_kills_and_restarts(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    config = ["max_queued_messages 0"]
    async with (
        Mosquitto(tmp_path / "m", persistence=True, config=config) as broker,
        ledger(broker, file),
    ):
        said: list[int] = []
        for run in range(4):
            killing = asyncio.create_task(killed_while_writing(tmp_path, broker.port, run * 1_000_000, 900))
            await asyncio.sleep(0.7)
            if run % 2:
                await broker.restart()
            said += await killing
        wanted = {event(n).id for n in said}
        assert len(wanted) >= 3600
        last = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            WRITER,
            str(tmp_path / "journal.db"),
            str(broker.port),
            "9000000",
            "1",
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
            env=ENVIRONMENT,
        )
        try:
            await until(lambda: wanted <= collected(file).keys(), within=40)
        finally:
            last.kill()
            await last.wait()
        twice = sum(count - 1 for count in collected(file).values())
        assert twice < len(wanted), "at least once does not mean always twice"
