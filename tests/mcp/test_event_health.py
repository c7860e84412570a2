"""/health and /metrics of a bridge with listeners, over HTTP: what they say while all is well and when it is not."""

import asyncio
import re
import socket
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from mqtt_bridge.settings import load
from proxmox_mcp.lab import Lab
from proxmox_mcp.serving import Served
from tests.mcp.conftest import Eventually
from tests.support.https_host import free_port
from tests.support.mosquitto import Mosquitto
from tests.support.watched import fast

TOKEN = "a-token-of-the-webhook"
DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"


class Running:
    """A served lab, and what it says of itself."""

    def __init__(self, served: Served, web: httpx2.AsyncClient, webhook: int) -> None:
        self.served, self.web, self.webhook = served, web, webhook
        self.events = served.bridge.events

    async def health(self) -> int:
        return (await self.web.get("/health")).status_code

    async def metrics(self) -> dict[str, float]:
        lines = (await self.web.get("/metrics")).text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}

    async def tell(self, message: str, token: str = TOKEN) -> int:
        async with httpx2.AsyncClient(trust_env=False, timeout=30) as sender:
            url = f"http://127.0.0.1:{self.webhook}/webhook"
            body = {"title": message, "message": message, "severity": "error"}
            return (await sender.post(url, json=body, headers={"Authorization": f"Bearer {token}"})).status_code


@asynccontextmanager
async def running(tmp_path: Path, mosquitto: Mosquitto, **more: str) -> AsyncIterator[Running]:
    port = free_port()
    env = {
        "STATE_DIR": str(tmp_path / "state"),
        "MQTT_HOST": "127.0.0.1",
        "MQTT_PORT": str(mosquitto.port),
        "ENABLED_EVENT_LISTENERS": "WEBSOCKET,WEBHOOK",
        "EVENT_WEBHOOK_LISTEN_PORT": str(port),
        "EVENT_WEBHOOK_TOKEN": TOKEN,
    }
    async with Lab() as lab:
        settings = fast(load({**lab.env, **env, **more}, search=False))
        async with Served(settings, port=0) as served:
            await served.bridge.ready()
            base = served.url.removesuffix("/mcp")
            async with httpx2.AsyncClient(base_url=base, trust_env=False) as web:
                async with asyncio.timeout(10):
                    while any(info.status == "starting" for info in served.bridge.events.info().values()):
                        await asyncio.sleep(0.02)
                yield Running(served, web, port)


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


async def test_what_the_listeners_did_is_counted(tmp_path: Path, mosquitto: Mosquitto, eventually: Eventually) -> None:
    async with running(tmp_path, mosquitto) as bridge:
        assert [await bridge.tell(f"problem {n}") for n in range(3)] == [200] * 3
        assert await bridge.tell("x", token="wrong-token-1234567") == 401
        await eventually(lambda: bridge.events.outbox.stats["published"] >= 3)
        await eventually(lambda: not bridge.events.journal.stats.unpublished)
        found = await bridge.metrics()
        label = '{listener="WEBHOOK"}'
        assert found[f"proxmox_listener_up{label}"] == 1
        assert found[f"proxmox_listener_accepted_total{label}"] == 3
        assert found[f"proxmox_listener_waiting{label}"] == 0
        assert found[f"proxmox_listener_last_event_timestamp_seconds{label}"] > 1_700_000_000
        assert found['proxmox_listener_rejected_total{listener="WEBHOOK",reason="wrong token"}'] == 1
        assert found["proxmox_journal_up"] == found["proxmox_outbox_up"] == 1
        assert found["proxmox_journal_events"] >= 3
        assert found["proxmox_journal_unpublished_events"] == 0
        assert found["proxmox_journal_size_bytes"] > 0
        assert found['proxmox_outbox_events_total{outcome="published"}'] >= 3
        assert await bridge.health() == 200


async def test_every_figure_is_documented(tmp_path: Path, mosquitto: Mosquitto) -> None:
    documented = set(re.findall(r"`(proxmox_\w+)`", DOCS.read_text(encoding="utf-8").partition("| --- |")[2]))
    async with running(tmp_path, mosquitto) as bridge:
        await bridge.tell("one")
        await bridge.tell("two", token="wrong-token-1234567")
        said = (await bridge.web.get("/metrics")).text
    names = set(re.findall(r"^# TYPE (proxmox_\w+)", said, re.MULTILINE))
    assert names - documented == set()
    unseen = {"proxmox_mcp_tool_seconds"}  # before the first call of a tool
    assert documented - names - unseen == set()


async def test_a_listener_that_cannot_listen_is_not_healthy(
    tmp_path: Path, mosquitto: Mosquitto, eventually: Eventually
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        more = {
            "ENABLED_EVENT_LISTENERS": "WEBSOCKET,WEBHOOK,SYSLOG",
            "EVENT_SYSLOG_LISTEN_PORT": str(taken.getsockname()[1]),
            "EVENT_SYSLOG_PROTOCOLS": "tcp",
        }
        async with running(tmp_path, mosquitto, **more) as bridge:
            await eventually(lambda: bridge.events.info()["SYSLOG"].status == "problem")
            assert await bridge.health() == 503
            found = await bridge.metrics()
            assert found['proxmox_listener_up{listener="SYSLOG"}'] == 0
            assert found['proxmox_listener_up{listener="WEBHOOK"}'] == 1


async def test_trouble_of_the_api_watcher_is_its_sites(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with running(tmp_path, mosquitto) as bridge:
        bridge.events.pipeline.intake("WEBSOCKET").unhealthy("pbs1 does not answer")
        assert (await bridge.metrics())['proxmox_listener_up{listener="WEBSOCKET"}'] in {0, 1}
        assert bridge.events.healthy


async def test_a_journal_that_cannot_be_written_is_not_healthy(
    tmp_path: Path, mosquitto: Mosquitto, eventually: Eventually, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mqtt_bridge.journal.file.BUSY", 0.1)
    async with running(tmp_path, mosquitto) as bridge:
        assert await bridge.health() == 200
        locked = sqlite3.connect(tmp_path / "state" / "journal.db", isolation_level=None)
        locked.execute("BEGIN EXCLUSIVE")
        try:
            telling = asyncio.create_task(bridge.tell("while it is locked"))
            await eventually(lambda: bridge.events.problem)
            assert await bridge.health() == 503
            assert (await bridge.metrics())["proxmox_journal_up"] == 0
        finally:
            locked.rollback()
            locked.close()
        assert await telling in {200, 503}
        assert await bridge.tell("afterwards") == 200
        await eventually(lambda: not bridge.events.problem)
        assert await bridge.health() == 200
