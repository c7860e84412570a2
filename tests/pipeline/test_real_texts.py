"""One failing backup in the very words that Proxmox uses on each channel, from text to placement."""

import itertools
import json
import time

import pytest

from mqtt_bridge.events.correlate import Correlator
from mqtt_bridge.events.intake import Report
from mqtt_bridge.events.normalise import event_of
from mqtt_bridge.model import Event
from mqtt_bridge.severity import Trust
from mqtt_bridge.wording import classify
from mqtt_bridge.wording.verdict import Channel
from tests.pipeline.world import FixedWorld

AT = int(time.time()) - 3600
UPID = f"UPID:pve1:000831DD:0640E944:{AT - 40:08X}:vzdump:101:root@pam:"
REASON = "command 'vzdump-hook job-abort' failed: exit code 1"
TABLE = (
    "Details\n=======\nVMID    Name    Status    Time    Size    Filename\n"
    "101     web     err       40s     0 B     null\n"
    "\nTotal running time: 40s\nTotal size: 0 B\n\nLogs\n====\nvzdump 101 --storage nas --node pve1\n\n"
    f"101: 2026-01-01 02:00:02 ERROR: Backup of VM 101 failed - {REASON}\n"
)
HEAD = "<27>Jan  1 02:00:02 pve1 pvedaemon[9]:"
TITLE = "vzdump backup status (pve1.example.com): backup failed"
MAIL = f"From: Proxmox VE <root@pve1.example.com>\nTo: a@example.com\nSubject: {TITLE}\n\n{TABLE}"
PUSHED = {"title": TITLE, "message": TABLE}
FIELDS = {"type": "vzdump", "hostname": "pve1", "job-id": "backup-1"}
HOOK = {**PUSHED, "severity": "error", "timestamp": AT, "fields": FIELDS}

TOLD: list[tuple[str, Channel, Trust, str]] = [
    ("WEBSOCKET", "task", "api", json.dumps({"upid": UPID, "status": REASON, "starttime": AT - 40, "endtime": AT})),
    ("WEBSOCKET", "clusterlog", "api", json.dumps({
        "uid": 1, "time": AT, "pri": 3, "tag": "pvedaemon", "pid": 1, "node": "pve1", "user": "root@pam",
        "msg": f"end task {UPID} {REASON}",
    })),
    ("EMAIL", "email", "authenticated", MAIL),
    ("WEBHOOK", "webhook", "authenticated", json.dumps(HOOK)),
    ("GOTIFY_IN", "gotify", "authenticated", json.dumps({**PUSHED, "priority": 9})),
    ("SYSLOG", "syslog", "unauthenticated", f"{HEAD} <root@pam> end task {UPID} {REASON}"),
    ("SYSLOG", "syslog", "unauthenticated", f"{HEAD} ERROR: Backup of VM 101 failed - {REASON}"),
]  # fmt: skip
FORGED = (
    MAIL.replace("backup failed", "backup successful").replace(" err ", " ok  ").replace("ERROR: Backup", "INFO: Ok")
)


def event(source: str, channel: Channel, trust: Trust, text: str) -> Event:
    report = Report(f"{channel}{text}", classify(channel, text), trust, at=None if "uid" in text[:10] else AT)
    return event_of(report, source, FixedWorld("lab"), AT + 5)


@pytest.mark.parametrize("first", range(len(TOLD)))
def test_one_happening_whichever_comes_first(first: int) -> None:
    rotated = itertools.islice(itertools.cycle(TOLD), first, first + len(TOLD))
    events = [event(*row) for row in rotated]
    assert all(one.ok is False and one.guest == 101 for one in events)
    correlator = Correlator()
    placed = [correlator.place(one) for one in events]
    assert {one.correlation_id for one in placed} == {events[0].id}
    assert [one.duplicate_of for one in placed] == [None, *[events[0].id] * (len(events) - 1)]
    surer = [one.trust for one, where in zip(events, placed, strict=True) if where.surer]
    assert len(surer) == len(set(surer)), "each trust confirms it once"


def test_a_forged_success_mail_before_it_silences_nothing() -> None:
    forged = event("SMTP", "email", "unauthenticated", FORGED)
    assert forged.kind == "backup.job.finished"
    correlator = Correlator()
    correlator.place(forged)
    placed = [correlator.place(event(*row)) for row in TOLD]
    assert placed[0].duplicate_of is None
    assert all(one.duplicate_of == placed[0].correlation_id for one in placed[1:])
    assert placed[0].correlation_id != forged.id
