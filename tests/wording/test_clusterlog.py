"""Entries of the cluster log."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.model import SEVERITIES
from mqtt_bridge.wording import classify
from mqtt_bridge.wording.clusterlog import read_clusterlog

_LINES = (Path(__file__).parent / "data" / "samples.jsonl").read_text(encoding="utf-8").splitlines()
SAMPLES = [record for record in map(json.loads, _LINES) if record["channel"] == "clusterlog"]


@pytest.mark.parametrize("record", SAMPLES, ids=lambda record: record["id"])
def test_samples(record: dict[str, Any]) -> None:
    verdict = classify("clusterlog", record["raw"])
    assert {name: getattr(verdict, name) for name in record["expected"]} == record["expected"]


ENTRY = {"uid": 1, "time": 1704389643, "pri": 6, "tag": "pvedaemon", "pid": 7, "node": "pve.lan", "user": "root@pam"}


@pytest.mark.parametrize("around", [lambda entry: entry, lambda entry: {"data": [entry]}, lambda entry: [entry]])
def test_what_the_api_wraps_around_an_entry(around: Any) -> None:
    raw = json.dumps(around({**ENTRY, "msg": "successful auth for user 'root@pam'"}))
    verdict = read_clusterlog(raw)
    assert (verdict.kind, verdict.node, verdict.at) == ("auth.succeeded", "pve", 1704389643.0)
    assert verdict.fields["user"] == "root@pam"


def test_other_text_is_read_as_a_log_line() -> None:
    line = "Aug 08 20:22:01 homelab2 pmxcfs[929]: [status] notice: node lost quorum"
    assert read_clusterlog(line).kind == "quorum.lost"


@given(
    st.one_of(
        st.text(),
        st.dictionaries(
            st.sampled_from([*ENTRY, "msg"]), st.one_of(st.none(), st.floats(), st.text(), st.integers(), st.booleans())
        ).map(json.dumps),
    )
)
def test_nothing_raises(raw: str) -> None:
    assert read_clusterlog(raw).severity in SEVERITIES
