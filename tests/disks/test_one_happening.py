"""smartd and zed tell at once, the poll tells later: one happening, and the problem ends when it is told to be over."""

from typing import Any

import pytest

from mqtt_bridge.events.normalise import iso
from mqtt_bridge.model import Event
from mqtt_bridge.notifying.problems import subject_of
from tests.pipeline import test_scenarios as whole
from tests.pipeline.happenings import NIGHT, Scenario, told

HOUR = 3600


def _failing(source: str, at: int, device: str, **more: Any) -> Event:
    return told(source, "disk.smart.failing", at, ok=False, severity="critical", device=device, **more)


def _polled(at: int, since: int | None, device: str = "/dev/sda") -> Event:
    more: dict[str, Any] = {} if since is None else {"well_at": iso(NIGHT + since)}
    return _failing("WEBSOCKET", at, device, **more)


def _pool(source: str, at: int, **more: Any) -> Event:
    return told(source, "storage.zfs.degraded", at, ok=False, severity="error", pool="tank", **more)


SURER = (0, "surer")
SCENARIOS = [
    Scenario("smartd's mail, and the poll an hour later", [
        (_failing("EMAIL", 600, "/dev/sda [SAT]", test="Health"), "A", None),
        (_polled(HOUR + 300, 300), "A", SURER),
        (_polled(HOUR + 310, 300, "/dev/sdb"), "B", None),
    ]),
    Scenario("the poll first, then smartd's next look", [
        (_polled(0, -HOUR), "A", None),
        (_failing("EMAIL", 1700, "/dev/sda [SAT]", test="Health"), "A", 0),
        (_failing("SYSLOG", 1700, "/dev/sda"), "A", 0),
        (_failing("SYSLOG", 3500, "/dev/sda"), "A", 0),
    ]),
    Scenario("an NVMe disk, of which smartd names the controller", [
        (_failing("EMAIL", 0, "/dev/nvme0", test="Health"), "A", None),
        (_polled(HOUR, -60, "/dev/nvme0n1"), "A", SURER),
        (_failing("EMAIL", 60, "/dev/nvme1", test="Health"), "B", None),
    ]),
    Scenario("a mail of yesterday, after which it was seen to be well", [
        (_failing("EMAIL", 0, "/dev/sda", test="Health"), "A", None),
        (_polled(12 * HOUR, 11 * HOUR), "B", None),
    ]),
    Scenario("only our own reading can say since when: nobody else's word makes it older", [
        (_failing("EMAIL", 0, "/dev/sda", test="Health"), "A", None),
        (_failing("EMAIL", 3 * HOUR, "/dev/sda", test="Health", well_at=iso(NIGHT - 60)), "B", None),
    ]),
    Scenario("zed's mail, the poll, and the end", [
        (_pool("EMAIL", 60), "A", None),
        (_pool("WEBSOCKET", 3000, well_at=iso(NIGHT)), "A", SURER),
        (told("WEBSOCKET", "storage.zfs.ok", 9000, ok=True, severity="info", pool="tank"), "A", None),
        (_pool("WEBSOCKET", 20_000, well_at=iso(NIGHT + 16_000)), "B", None),
    ]),
    Scenario("a disk that is taken out and put back", [
        (told("WEBSOCKET", "disk.missing", 0, ok=False, severity="warning", device="/dev/sda"), "A", None),
        (told("WEBSOCKET", "disk.found", HOUR, ok=True, severity="info", device="/dev/sda"), "A", None),
        (told("WEBSOCKET", "disk.missing", 2 * HOUR, ok=False, severity="warning", device="/dev/sda"), "B", None),
    ]),
]  # fmt: skip


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_one_happening(scenario: Scenario) -> None:
    whole.test_scenario(scenario)
    whole.test_a_restart_after_any_of_them_changes_nothing(scenario)


def test_problems_end() -> None:
    pairs: list[tuple[str, str, dict[str, Any]]] = [
        ("disk.smart.failing", "disk.smart.ok", {"device": "/dev/nvme0n1"}),
        ("disk.missing", "disk.found", {"device": "/dev/sda"}),
        ("storage.zfs.degraded", "storage.zfs.ok", {"pool": "tank"}),
        ("storage.zfs.suspended", "storage.zfs.ok", {"pool": "tank"}),
    ]
    for bad, well, fields in pairs:
        begun = subject_of(told("WEBSOCKET", bad, ok=False, severity="error", **fields))
        ended = subject_of(told("WEBSOCKET", well, ok=True, severity="info", **fields))
        assert begun.bad
        assert begun.bad == ended.well
