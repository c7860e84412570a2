"""What `check` says of the listeners SYSLOG and METRICS."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import GeneralSettings, Settings
from mqtt_bridge.settings.listening import (
    EventSettings,
    ListenerName,
    ListenerSettings,
    MetricsInSettings,
    SyslogSettings,
)
from proxmox_mcp.check.findings import Finding
from proxmox_mcp.check.in_metrics import check_metrics
from proxmox_mcp.check.in_syslog import check_syslog
from tests.listeners.test_metrics import TOKEN
from tests.listeners.test_metrics import running as metrics_running
from tests.support.https_host import free_port

CHECKS = {"SYSLOG": check_syslog, "METRICS": check_metrics}


def settings(folder: Path, name: ListenerName, **values: Any) -> Settings:
    listen = ListenerSettings(
        syslog=replace(SyslogSettings(port=free_port()), **(values if name == "SYSLOG" else {})),
        metrics=replace(
            MetricsInSettings(port=free_port(), udp_port=free_port()), **(values if name == "METRICS" else {})
        ),
    )
    general = GeneralSettings(state_dir=folder)
    return Settings(general=general, events=EventSettings(enabled=frozenset({name})), listen=listen)


def said(findings: Sequence[Finding]) -> dict[str, bool | None]:
    return {finding.what: finding.ok for finding in findings}


async def test_nothing_is_said_of_what_is_off(tmp_path: Path) -> None:
    assert await check_syslog(settings(tmp_path, "METRICS"), 3) == []
    assert await check_metrics(settings(tmp_path, "SYSLOG"), 3) == []


async def test_ports_that_are_free(tmp_path: Path) -> None:
    found = await check_syslog(settings(tmp_path, "SYSLOG"), 3)
    assert said(found)["UDP and TCP"] is True
    assert said(found)["sources"] is None
    found = await check_metrics(settings(tmp_path, "METRICS"), 3)
    assert said(found) == {"TCP": True, "UDP": True, "sources": None}


async def test_a_port_that_is_taken(tmp_path: Path) -> None:
    async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        found = (await check_syslog(settings(tmp_path, "SYSLOG", port=port), 3))[0]
        assert (found.ok, "EVENT_SYSLOG_LISTEN_PORT" in found.cure) == (False, True)
        found = (await check_metrics(settings(tmp_path, "METRICS", port=port), 10))[0]
        assert (found.ok, "EVENT_METRICS_LISTEN_PORT" in found.cure) == (False, True)


async def test_a_bridge_that_listens_already(tmp_path: Path) -> None:
    async with metrics_running() as under:
        found = (await check_metrics(settings(tmp_path, "METRICS", port=under.listener.port, token=Secret(TOKEN)), 5))[
            0
        ]
    assert found.ok is True
    assert "a bridge answers" in found.detail


@pytest.mark.parametrize("name", ["SYSLOG", "METRICS"])
async def test_open_to_everybody(tmp_path: Path, name: ListenerName) -> None:
    found = await CHECKS[name](settings(tmp_path, name, host="0.0.0.0"), 3)  # noqa: S104 - that is the point
    assert [finding.what for finding in found if finding.ok is False] == ["sources" if name == "SYSLOG" else "token"]


async def test_a_small_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = tmp_path / "rmem_max"
    small.write_text("212992\n")
    monkeypatch.setattr("proxmox_mcp.check.in_syslog._RMEM_MAX", small)
    (found,) = [one for one in await check_syslog(settings(tmp_path, "SYSLOG"), 3) if one.what == "UDP buffer"]
    assert "208 KiB" in found.detail
    assert "net.core.rmem_max" in found.cure
