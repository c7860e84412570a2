"""The demo's hosts tell of a failing backup by every channel: one happening. A forged success before it hides nothing.

Each later report is marked as a duplicate of the first.
"""

import asyncio
import smtplib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from proxmox_mcp.lab.push import mail, pve_texts
from tests.support.https_host import free_port
from tests.support.processes import environment, run, until
from tests.system.ledger_books import Collector
from tests.system.test_demo import Demo

CHANNELS = {"task", "mail", "webhook", "gotify", "syslog"}
_CHANNELS = {"WEBSOCKET": "task", "SMTP": "mail", "SYSLOG": "syslog"}


class Api:
    """The lab's API, asked without any of our code."""

    def __init__(self, ready: dict[str, Any], session: aiohttp.ClientSession) -> None:
        lab = ready["lab"]
        self._session, self._url = session, f"{lab['api'][0]}/api2/json"
        self._headers = {"Authorization": f"PVEAPIToken={lab['user']}!{lab['token_name']}={lab['token_value']}"}

    async def __call__(self, method: str, path: str, **sent: Any) -> Any:
        async with self._session.request(
            method, self._url + path, headers=self._headers, data=sent or None, ssl=False
        ) as answer:
            assert answer.status == 200, await answer.text()
            return (await answer.json())["data"]


def forge(port: int, node: str, vmid: int) -> None:
    """Anybody who reaches the mail port can write this."""
    name = f"/mnt/pve/nas/dump/vzdump-qemu-{vmid}-2026_11_21-03_00_00.vma.zst"
    log = (f"INFO: Finished Backup of VM {vmid} (00:00:20)",)
    done = pve_texts.BackupRun(f"vzdump {vmid}", results=[pve_texts.BackupResult(vmid, "web", 20, 1 << 30, name, log)])
    made = mail.compose(
        pve_texts.backup(node, int(time.time()), done), "Proxmox VE", f"root@{node}", ["x@example.org"], sendmail=False
    )
    with smtplib.SMTP("127.0.0.1", port, timeout=5) as client:
        client.send_message(made)


def channel_of(event: dict[str, Any]) -> str:
    return _CHANNELS.get(event["source"]) or str(event["metadata"]["format"])


async def test_a_failing_backup_is_one_happening(tmp_path: Path) -> None:
    smtp = free_port()
    demo = Demo(tmp_path / "demo", "--set", f"EVENT_SMTP_LISTEN_PORT={smtp}")
    try:
        ready = await asyncio.to_thread(demo.wait)
        mqtt = ready["mqtt"]
        login = ("-u", mqtt["username"], "-P", mqtt["password"])
        with Collector(mqtt["port"], tmp_path / "collected", *login) as collector:
            async with aiohttp.ClientSession() as session:
                vmid, upid = await _fail(Api(ready, session), ready, smtp, collector)

            def events() -> list[dict[str, Any]]:
                found = [event for _, event in collector.messages() if _about(event, vmid, upid)]
                return list({event["id"]: event for event in found}.values())

            await until(
                lambda: {channel_of(one) for one in _failures(events())} == CHANNELS, why=lambda: _table(events)
            )
            await asyncio.sleep(3)  # whatever comes still
            _one_happening(events(), upid)
    finally:
        demo.close()


async def _fail(api: Api, ready: dict[str, Any], smtp: int, collector: Collector) -> tuple[int, str]:
    """A guest that is off, which the demo's own liveliness leaves alone: its backup is said to be fine, and fails."""
    rows = await api("GET", "/cluster/resources?type=vm")
    guest = next(row for row in rows if row["status"] == "stopped" and row["type"] == "qemu" and not row["template"])
    vmid, node = int(guest["vmid"]), str(guest["node"])
    await asyncio.to_thread(forge, smtp, node, vmid)
    await until(lambda: any(event["guest"] == vmid and event["ok"] for _, event in collector.messages()))
    control = environment(PROXMOX_LAB_CONTROL=ready["env"]["PROXMOX_LAB_CONTROL"])
    broken = await asyncio.to_thread(
        lambda: run("proxmox-mcp", "lab", "fault", "backup-fail", str(vmid), env=control, cwd=Path.cwd())
    )
    assert broken.returncode == 0, broken.stderr
    return vmid, str(await api("POST", f"/nodes/{node}/vzdump", vmid=vmid, storage="nas"))


def _about(event: dict[str, Any], vmid: int, upid: str) -> bool:
    return bool(event["guest"] == vmid or event["metadata"].get("upid") == upid)


def _failures(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["ok"] is False]


def _one_happening(events: list[dict[str, Any]], upid: str) -> None:
    table = _table(lambda: events)
    (forged,) = [event for event in events if event["kind"] == "backup.job.finished"]
    assert (forged["ok"], forged["trust"]) == (True, "unauthenticated"), table
    first, *later = _failures(events)
    assert (first["severity"], first["duplicate_of"]) == ("error", None), table
    assert {event["correlation_id"] for event in (first, *later)} == {first["correlation_id"]}, table
    assert forged["correlation_id"] != first["correlation_id"], table
    assert {event["severity"] for event in later} == {"error"}, table
    assert {event["duplicate_of"] for event in later} == {first["id"]}, table
    assert {event["trust"] for event in (first, *later)} == {"api", "authenticated", "unauthenticated"}, table
    assert any(event["metadata"].get("upid") == upid for event in later), table


def _table(events: Callable[[], list[dict[str, Any]]]) -> str:
    shown = (
        "timestamp",
        "source",
        "kind",
        "node",
        "guest",
        "severity",
        "trust",
        "id",
        "correlation_id",
        "duplicate_of",
    )
    return "\n".join("  ".join(str(event[key]) for key in shown) + f"  {event['title']}" for event in events())
