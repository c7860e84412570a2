"""Every push channel, from the moment its sender begins to the event at a subscriber of a real broker.

The bridge is a process of its own with all of it: listener, rules, pipeline, journal on disk, outbox, Mosquitto.
"""

import asyncio
import json
import secrets
import smtplib
import socket
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path

import aiohttp

from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.mqtt.bus import Message
from proxmox_mcp.lab import Lab, LabOptions
from tests.bench.report import Report, milliseconds
from tests.support.mosquitto import Mosquitto, free_port
from tests.support.processes import Serve, environment

EACH = 300
PAUSE = 0.02  # seconds between two reports: what is measured is one, not a queue
TARGET = 0.025  # seconds, p99; syslog has a target of its own, the rate
TOKEN = secrets.token_hex(16)
Send = Callable[[int], Awaitable[None]]


class Arrivals:
    """When each numbered report was seen on MQTT."""

    def __init__(self) -> None:
        self.at: dict[int, float] = {}

    def take(self, messages: Sequence[Message]) -> None:
        now = time.perf_counter()
        for message in messages:
            event = json.loads(message.payload)
            if (number := _number(f"{event['title']} {event['message']} {event['metadata']}")) is not None:
                self.at.setdefault(number, now)


def _number(text: str) -> int | None:
    _, found, rest = text.partition("bench-")
    return int(rest[:6]) if found else None


async def _measure(name: str, first: int, send: Send, arrivals: Arrivals, report: Report) -> None:
    began: dict[int, float] = {}
    for number in range(first, first + EACH):
        began[number] = time.perf_counter()
        await send(number)
        await asyncio.sleep(PAUSE)
    async with asyncio.timeout(20):
        while not began.keys() <= arrivals.at.keys():
            await asyncio.sleep(0.05)
    cuts = statistics.quantiles((arrivals.at[n] - began[n] for n in began), n=100)
    told = f"p50 {milliseconds(cuts[49])}, p99 {milliseconds(cuts[98])}"
    report.figures[f"latency {name}"] = {"p50": cuts[49], "p99": cuts[98]}
    target = "" if name.startswith("syslog") else f"p99 ≤ {milliseconds(TARGET)}"
    report.add(f"{name} → event on MQTT", target, told, cuts[98] <= TARGET if target else None)


async def test_latency_of_every_push_channel(tmp_path: Path, report: Report) -> None:
    ports = {name: free_port() for name in ("webhook", "smtp", "syslog")}
    arrivals = Arrivals()
    async with Lab(LabOptions(guests=12)) as lab, Mosquitto(tmp_path / "broker") as mosquitto:
        env = environment(
            **lab.env,
            STATE_DIR=str(tmp_path / "state"),
            MQTT_HOST="127.0.0.1",
            MQTT_PORT=str(mosquitto.port),
            ENABLED_EVENT_LISTENERS="WEBHOOK,SMTP,SYSLOG",
            EVENT_WEBHOOK_LISTEN_PORT=str(ports["webhook"]),
            EVENT_WEBHOOK_TOKEN=TOKEN,
            EVENT_SMTP_LISTEN_PORT=str(ports["smtp"]),
            EVENT_SYSLOG_LISTEN_PORT=str(ports["syslog"]),
        )
        async with Serve(tmp_path / "serve", env) as serve, Broker(mosquitto.options, arrivals.take) as reader:
            await serve.ready()
            await reader.wait_connected()
            await reader.subscribe(["proxmox/+/event/#"], qos=1)
            await asyncio.gather(*map(_open, ports.values()))
            async with aiohttp.ClientSession() as session:
                for place, (name, send) in enumerate(_senders(session, ports).items()):
                    await _measure(name, 100_000 * (place + 1), send, arrivals, report)


async def _open(port: int) -> None:
    """Wait until it is listened on."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return


def _senders(session: aiohttp.ClientSession, ports: dict[str, int]) -> dict[str, Send]:
    url = f"http://127.0.0.1:{ports['webhook']}"

    async def webhook(number: int) -> None:
        body = {"title": f"bench-{number:06}", "message": "x", "severity": "info", "timestamp": int(time.time())}
        async with session.post(f"{url}/webhook", json=body, headers={"Authorization": f"Bearer {TOKEN}"}) as answer:
            assert answer.status == 200

    async def gotify(number: int) -> None:
        body = {"title": f"bench-{number:06}", "message": "x", "priority": 1}
        async with session.post(f"{url}/message", json=body, headers={"X-Gotify-Key": TOKEN}) as answer:
            assert answer.status == 200

    async def smtp(number: int) -> None:
        mail = f"Subject: bench-{number:06}\r\nFrom: root@pve1\r\nMessage-ID: <{number}@pve1>\r\n\r\nfailed\r\n"
        await asyncio.to_thread(_mail, ports["smtp"], mail.encode())

    async def udp(number: int) -> None:
        with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sender:
            sender.sendto(f"<30>Nov 21 02:00:00 pve1 bench[1]: bench-{number:06} failed".encode(),
                          ("127.0.0.1", ports["syslog"]))  # fmt: skip

    async def tcp(number: int) -> None:
        _, writer = await asyncio.open_connection("127.0.0.1", ports["syslog"])
        writer.write(f"<30>Nov 21 02:00:00 pve1 bench[1]: bench-{number:06} failed\n".encode())
        await writer.drain()
        writer.close()

    return {"webhook": webhook, "Gotify": gotify, "SMTP": smtp, "syslog UDP": udp, "syslog TCP": tcp}


def _mail(port: int, mail: bytes) -> None:
    with smtplib.SMTP("127.0.0.1", port, local_hostname="pve1", timeout=20) as client:
        client.sendmail("root@pve1", ["events@bridge.lan"], mail)
