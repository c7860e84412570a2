"""Journals forwarded over UDP and TCP, as rsyslog writes them."""

from __future__ import annotations

import asyncio
import re

import pytest

from proxmox_mcp.lab import FaultError
from tests.lab.conftest import Client, MakeLab
from tests.lab.receivers import tcp_server, udp_server, until

LINE = re.compile(r"<(\d+)>([A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) (\S+) ([\w-]+)(?:\[(\d+)\])?: (.*)", re.DOTALL)


def said(lines: list[str]) -> list[str]:
    """`host tag: text` of each, after a look at the frame."""
    found = []
    for line in lines:
        match = LINE.fullmatch(line.rstrip("\n"))
        assert match, line
        assert (int(match[1]) < 8) == (match[4] == "kernel")
        found.append(f"{match[3]} {match[4]}: {match[6]}")
    return found


async def test_a_guest_is_stopped_and_started(api: Client) -> None:
    async with udp_server() as server:
        api.lab.fault("syslog-to", "127.0.0.1", server.port)
        stop = (await api("POST", "/nodes/pve1/qemu/100/status/stop")).data
        await api.settle()
        start = (await api("POST", "/nodes/pve1/qemu/100/status/start")).data
        await api.settle()
        await until(lambda: any(f"end task {start}" in line for line in server.got))
    user = "<root@pam!full>"
    assert said(server.got) == [
        f"pve1 pvedaemon: {user} starting task {stop}",
        "pve1 kernel: vmbr0: port 12(tap100i0) entered disabled state",
        "pve1 qmeventd: Starting cleanup for 100",
        "pve1 qmeventd: Finished cleanup for 100",
        "pve1 systemd: 100.scope: Deactivated successfully.",
        f"pve1 pvedaemon: {user} end task {stop} OK",
        f"pve1 pvedaemon: {user} starting task {start}",
        "pve1 systemd: Started 100.scope.",
        "pve1 kernel: tap100i0: entered promiscuous mode",
        "pve1 kernel: vmbr0: port 12(tap100i0) entered forwarding state",
        f"pve1 pvedaemon: {user} end task {start} OK",
    ]
    assert {one.channel for one in api.lab.emitted} == {"syslog"}


async def test_nodes_and_the_quorum_are_lost(make_lab: MakeLab) -> None:
    async with tcp_server() as server:
        api = await make_lab(syslog=f"127.0.0.1:{server.port}/tcp")
        api.lab.fault("node-down", "pve2")
        api.lab.fault("node-down", "pve3")
        await until(lambda: any("node lost quorum" in line for line in server.got))
        lost = said(server.got)
        api.lab.fault("node-up", "pve2")
        await until(lambda: any("node has quorum" in line for line in server.got))
    assert "pve1 corosync:   [KNET  ] link: host: 2 link: 0 is down" in lost
    assert "pve3 corosync:   [QUORUM] Members[2]: 1 3" in lost
    assert "pve1 pmxcfs: [status] notice: members: 1/901" in lost
    assert "pve1 pmxcfs: [status] notice: node lost quorum" in lost
    assert not any(line.startswith("pve2 ") for line in lost)
    assert all("[status] notice" not in line or line.startswith("<29>") for line in server.got)
    assert any("pve1 corosync[901]:   [KNET  ] rx: host: 2 link: 0 is up" in line for line in server.got)


async def test_backups_and_failures(api: Client) -> None:
    async with udp_server() as server:
        api.lab.fault("syslog-to", "localhost", server.port, "udp")
        api.lab.fault("backup-fail", 100)
        await api.task("POST", "/nodes/pve1/vzdump", vmid=100, storage="nas")
        api.lab.fault("storage-offline", "nas", "pve2")
        await until(lambda: any("is not online" in line for line in server.got))
    lines = said(server.got)
    error = "job failed with err -5 - Input/output error"
    assert "pve1 pvedaemon: INFO: starting new backup job: vzdump 100 --storage nas --node pve1" in lines
    assert f"pve1 pvedaemon: ERROR: Backup of VM 100 failed - {error}" in lines
    assert any(re.search(r"end task UPID:pve1:\S+:vzdump:100:root@pam!full: job errors$", line) for line in lines)
    assert "pve2 pvestatd: storage 'nas' is not online" in lines
    assert any(line.startswith("<27>") and "is not online" in line for line in server.got)


async def test_the_ha_manager_fences(make_lab: MakeLab) -> None:
    async with udp_server() as server:
        api = await make_lab(ha_recovery=0.1, syslog=f"127.0.0.1:{server.port}")
        sid = next(iter(api.lab.world.ha))
        node = api.lab.guest(int(sid.split(":")[1])).node
        api.lab.fault("node-down", node)
        await until(lambda: any("recover service" in line for line in server.got))
    lines = [line.partition(": ")[2] for line in said(server.got) if "pve-ha-crm" in line]
    assert lines[0] == f"node '{node}': state changed from 'unknown' => 'fence'"
    assert f"fencing: acknowledged - got agent lock for node '{node}'" in lines
    assert any(line.startswith(f"recover service '{sid}' from fenced node '{node}' to node ") for line in lines)


async def test_a_receiver_that_comes_late_misses_nothing(api: Client) -> None:
    async with tcp_server() as first:
        port = first.port
    api.lab.fault("syslog-to", "127.0.0.1", port, "tcp")
    assert api.lab._syslog
    api.lab._syslog[0].retry = 0.05
    api.lab.fault("guest-crash", 100)
    await until(lambda: any(one.error for one in api.lab.emitted))
    async with tcp_server(port) as server:
        await until(lambda: len(server.got) == 4)
        api.lab.fault("syslog-off")
        api.lab.fault("guest-crash", 101)
        await asyncio.sleep(0.05)
        assert len(server.got) == 4


async def test_only_loopback(api: Client) -> None:
    with pytest.raises(FaultError, match="only sends to loopback, not to '192.0.2.1'"):
        api.lab.fault("syslog-to", "192.0.2.1", 514)
    with pytest.raises(FaultError, match="'x' is no port"):
        api.lab.fault("syslog-to", "127.0.0.1", "x")
    with pytest.raises(FaultError, match="'carrier-pigeon' is not one of udp, tcp"):
        api.lab.fault("syslog-to", "127.0.0.1", 514, "carrier-pigeon")
    assert api.lab._syslog is None


async def test_off_unless_asked_for(api: Client) -> None:
    api.lab.fault("guest-crash", 100)
    assert api.lab.emitted == []
    told = [row["t"] for row in await api.get("/nodes/pve1/syslog", limit=500)]
    assert any(line.endswith("qmeventd[901]: Finished cleanup for 100") for line in told)
