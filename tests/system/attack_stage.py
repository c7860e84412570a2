"""A bridge with every listener on loopback, a good sender, and an observer on the broker that notes when what came."""

import asyncio
import json
import re
import smtplib
import subprocess
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from proxmox_mcp.lab import Lab, LabOptions
from tests.support.dovecot import PASSWORD, USER, Dovecot
from tests.support.gotify import CLIENT, Gotify, gotify
from tests.support.https_host import free_port
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Serve, environment, until

HOST = "127.0.0.1"
TOKEN, SMTP_USER, SMTP_PASSWORD = "the-token-under-attack-5ec2e7", "proxmox", "smtp-password-5ec2e7"
SECRETS = (TOKEN, SMTP_PASSWORD, PASSWORD, CLIENT)
LISTENERS = ("WEBSOCKET", "WEBHOOK", "SMTP", "SYSLOG", "EMAIL", "GOTIFY_IN", "METRICS")
_GOOD = re.compile(r"good-(webhook|mail)-(\d+)")


class Observer:
    """`with` it: mosquitto_sub in a process of its own, which notes each message with the time of its receipt."""

    def __init__(self, port: int, file: Path) -> None:
        self._file = file
        words = ["-h", HOST, "-p", str(port), "-V", "mqttv311", "-q", "0", "-F", "%U %t %p", "-t", "proxmox/#"]
        self._words = ["mosquitto_sub", *words]

    def __enter__(self) -> Self:
        with self._file.open("wb") as out:
            self._process = subprocess.Popen(self._words, stdout=out, stderr=subprocess.STDOUT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(10)

    def rows(self) -> list[tuple[float, str, bytes]]:
        """Unix time, topic, payload."""
        whole = self._file.read_bytes().split(b"\n")[:-1]
        parts = (line.split(b" ", 2) for line in whole if line)
        return [(float(at), topic.decode(), payload) for at, topic, payload in parts]

    def last(self, topic: str) -> Any:
        found = [payload for _, where, payload in self.rows() if where == topic]
        return json.loads(found[-1]) if found else None


@dataclass(frozen=True)
class Ports:
    webhook: int = field(default_factory=free_port)
    smtp: int = field(default_factory=free_port)
    syslog: int = field(default_factory=free_port)
    metrics: int = field(default_factory=free_port)
    metrics_udp: int = field(default_factory=free_port)


@dataclass
class Good:
    """Reports as Proxmox sends them: once, and not again. `failed` says what was not accepted, and why."""

    ports: Ports
    sent: dict[str, float] = field(default_factory=dict)
    took: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _number: int = 0

    async def run(self, end: float, every: float = 0.2) -> None:
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as web, asyncio.TaskGroup() as group:
            while time.monotonic() < end:
                self._number += 1
                hook, mail = f"good-webhook-{self._number}", f"good-mail-{self._number}"
                group.create_task(self._told(hook, self.webhook(web, hook)))
                group.create_task(self._told(mail, self.mail(mail)))
                await asyncio.sleep(every)

    async def _told(self, name: str, telling: Any) -> None:
        began = self.sent[name] = time.time()
        problem = await telling
        self.took[name] = time.time() - began
        if problem:
            self.failed[name] = problem

    async def webhook(self, web: httpx2.AsyncClient, name: str) -> str:
        """Empty: accepted."""
        body = {"title": name, "message": f"{name} happened", "severity": "error", "fields": {"hostname": "pve1"}}
        try:
            answer = await web.post(
                f"http://{HOST}:{self.ports.webhook}/webhook", json=body, headers={"Authorization": f"Bearer {TOKEN}"}
            )
        except httpx2.HTTPError as error:
            return repr(error)
        return "" if answer.status_code == 200 else f"{answer.status_code} {answer.text}"

    async def mail(self, name: str) -> str:
        return await asyncio.to_thread(self._mail, name)

    def _mail(self, name: str) -> str:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "root@pve1.lab", "proxmox@example.org", name
        mail.set_content(f"{name} happened")
        try:
            with smtplib.SMTP(HOST, self.ports.smtp, timeout=10) as server:
                server.login(SMTP_USER, SMTP_PASSWORD)
                server.send_message(mail)
        except (OSError, smtplib.SMTPException) as error:
            return repr(error)
        return ""


@dataclass
class Stage:
    """All that takes part."""

    lab: Lab
    ports: Ports
    bridge: Serve
    dovecot: Dovecot
    gotify: Gotify
    observer: Observer
    good: Good

    def info(self) -> dict[str, Any]:
        """`bridge/info` as last published."""
        return dict(self.observer.last("proxmox/bridge/main/info") or {})

    def rejected(self) -> dict[str, dict[str, int]]:
        return {name: one["rejected"] for name, one in self.info()["listeners"].items()}

    async def health(self) -> int:
        async with httpx2.AsyncClient(trust_env=False, timeout=10) as web:
            return int((await web.get(self.bridge.url.replace("/mcp", "/health"))).status_code)


@asynccontextmanager
async def stage(folder: Path, state: Path | None = None) -> AsyncIterator[Stage]:
    """Everything listens, and the baselines are taken."""
    async with AsyncExitStack() as stack:
        lab = await stack.enter_async_context(Lab(LabOptions(seed=1, speed=20, auth_delay=0.05)))
        queue = ("max_queued_messages 0", "max_queued_bytes 0")
        broker = await stack.enter_async_context(Mosquitto(folder / "mosquitto", config=queue))
        dovecot = await stack.enter_async_context(Dovecot(folder / "dovecot"))
        server = await stack.enter_async_context(gotify())
        observer = stack.enter_context(Observer(broker.port, folder / "observed"))
        ports = Ports()
        env = _settings(lab, ports, broker, dovecot, server=server, state=state or folder / "state")
        bridge = await stack.enter_async_context(Serve(folder / "bridge", env))
        await bridge.ready()
        found = Stage(lab, ports, bridge, dovecot, server, observer, Good(ports))
        await until(lambda: _all_well(found), why=lambda: json.dumps(found.info().get("listeners"))[-2000:])
        yield found


def _all_well(on: Stage) -> bool:
    listeners = on.info().get("listeners", {})
    return set(listeners) == set(LISTENERS) and all(one["status"] == "ok" for one in listeners.values())


def _settings(
    lab: Lab, ports: Ports, broker: Mosquitto, dovecot: Dovecot, *, server: Gotify, state: Path
) -> Mapping[str, str]:
    return environment(
        **lab.env,
        STATE_DIR=str(state),
        MQTT_HOST=HOST,
        MQTT_PORT=str(broker.port),
        POLL_INTERVAL="1",
        POLL_TASKS_INTERVAL="1",
        ENABLED_EVENT_LISTENERS=",".join(LISTENERS),
        EVENT_WEBHOOK_LISTEN_PORT=str(ports.webhook),
        EVENT_WEBHOOK_TOKEN=TOKEN,
        EVENT_SMTP_LISTEN_PORT=str(ports.smtp),
        EVENT_SMTP_USERNAME=SMTP_USER,
        EVENT_SMTP_PASSWORD=SMTP_PASSWORD,
        EVENT_SYSLOG_LISTEN_PORT=str(ports.syslog),
        EVENT_METRICS_LISTEN_PORT=str(ports.metrics),
        EVENT_METRICS_UDP_PORT=str(ports.metrics_udp),
        EVENT_METRICS_TOKEN=TOKEN,
        EVENT_EMAIL_IMAP_SERVER=HOST,
        EVENT_EMAIL_IMAP_PORT=str(dovecot.port),
        EVENT_EMAIL_SECURITY="none",
        EVENT_EMAIL_USERNAME=USER,
        EVENT_EMAIL_PASSWORD=PASSWORD,
        GOTIFY_IN_SERVER_URL=server.url,
        GOTIFY_IN_CLIENT_TOKEN=CLIENT,
    )


def arrivals(rows: Sequence[tuple[float, str, bytes]]) -> dict[str, float]:
    """When each good report was on MQTT first."""
    found: dict[str, float] = {}
    for at, topic, payload in rows:
        if "/event/" in topic and b"good-" in payload and (name := _GOOD.search(json.loads(payload)["title"])):
            found.setdefault(name[0], at)
    return found
