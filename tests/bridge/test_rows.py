"""Raw rows to figures, on rows as real clusters answer them."""

from typing import Any

import pytest

from mqtt_bridge.proxmox import rows

RUNNING = {"type": "qemu", "vmid": 100, "node": "pve1", "status": "running", "uptime": 100, "cpu": 0.5, "maxcpu": 2}


@pytest.mark.parametrize(
    ("row", "online", "qmp", "expected"),
    [
        ({"status": "running"}, True, None, "running"),
        ({"status": "running"}, True, "paused", "paused"),
        ({"status": "running"}, False, None, "unknown"),  # a lost node's guests go on saying "running"
        ({"status": "stopped"}, True, None, "stopped"),
        ({"status": "stopped", "lock": "suspended"}, True, None, "suspended"),
        ({"status": "unknown"}, True, None, "unknown"),
        ({}, True, None, "unknown"),
    ],
)
def test_status(row: dict[str, Any], online: bool, qmp: str | None, expected: str) -> None:
    assert rows.guest_status(row, node_online=online, qmpstatus=qmp) == expected


def test_rates_follow_the_samples_and_not_the_polls() -> None:
    rates = rows.Rates()
    assert rates.update(RUNNING | {"netin": 1000, "netout": 0})[0] is None
    assert rates.update(RUNNING | {"uptime": 110, "netin": 6000})[0] == 500
    assert rates.update(RUNNING | {"uptime": 110, "netin": 6000})[0] == 500, "the same sample again is no silence"
    assert rates.update(RUNNING | {"uptime": 5, "netin": 10})[0] is None, "a restart begins anew"
    assert rates.update({**RUNNING, "status": "stopped", "uptime": 0})[0] == 0


def test_a_vm_has_no_known_disk_usage_and_a_container_has() -> None:
    row = RUNNING | {"disk": 5, "maxdisk": 10, "mem": 1, "maxmem": 4}
    figures = (None,) * 4
    assert rows.guest_metrics(row, figures, "now").disk_percent is None
    assert rows.guest_metrics(row | {"type": "lxc"}, figures, "now").disk_percent == 50
    assert rows.guest_metrics(row, figures, "now").cpu_percent == 50


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((10.0, 20.0, 0.0), (11.9, 20.0, 0.0), False),
        ((10.0, 20.0, 0.0), (12.0, 20.0, 0.0), True),
        ((10.0, 20.0, 0.0), (10.0, 18.0, 0.0), True),
        ((10.0, 20.0, 100_000.0), (10.0, 20.0, 104_000.0), False),
        ((10.0, 20.0, 100_000.0), (10.0, 20.0, 106_000.0), True),
        ((10.0, 20.0, 10.0), (10.0, 20.0, 300.0), False),
        ((None, 20.0, 0.0), (None, 20.0, 0.0), False),
        ((None, 20.0, 0.0), (0.0, 20.0, 0.0), True),
    ],
)
def test_dead_band(old: tuple[float | None, ...], new: tuple[float | None, ...], expected: bool) -> None:
    assert rows.past_dead_band(old, new) is expected


def test_addresses_leave_out_what_nobody_else_can_reach() -> None:
    agent = {
        "result": [
            {"name": "lo", "ip-addresses": [{"ip-address": "127.0.0.1"}]},
            {"name": "eth0", "ip-addresses": [{"ip-address": "10.99.0.77"}, {"ip-address": "fe80::be24:11ff:fe00:64"}]},
            {"name": "eth1"},
        ]
    }
    assert rows.addresses(agent) == ("10.99.0.77",)
    assert rows.addresses([{"name": "eth0", "inet": "10.0.0.2/24", "inet6": "fe80::1/64"}]) == ("10.0.0.2",)
    assert rows.addresses(None) is None, "no answer is unknown, not none"


@pytest.mark.parametrize(
    ("agent", "expected"), [("1", True), ("enabled=1,fstrim_cloned_disks=1", True), ("0", False), ("enabled=0", False)]
)
def test_agent_setting(agent: str, expected: bool) -> None:
    assert rows.agent_configured({"agent": agent}) is expected
    assert rows.agent_configured({}) is False


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"type": "qmstart", "id": "100"}, 100),
        ({"type": "vzdump", "id": ""}, None),
        ({"type": "vzdump", "upid": "UPID:pve1:00000252:0007A684:6B00E89C:vzdump:131:root@pam!full:"}, 131),
        ({"type": "garbage_collection", "id": "300"}, None),
        ({"type": "srvreload", "id": "networking"}, None),
        ({"type": "qmstart", "id": "7"}, None),
    ],
)
def test_the_guest_of_a_task(row: dict[str, Any], expected: int | None) -> None:
    assert rows.guest_of_task(row) == expected
