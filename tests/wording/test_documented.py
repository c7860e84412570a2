"""docs/events.md names every kind that the rules make of real texts."""

import json
from pathlib import Path

import pytest
from docs_events import documented

from mqtt_bridge.wording import CHANNELS, classify

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("name", ["samples.jsonl", "syslog_held.jsonl", "syslog_unseen.jsonl", "mail_held.jsonl"])
def test_every_kind_is_in_the_docs(name: str) -> None:
    records = [json.loads(line) for line in (DATA / name).read_text(encoding="utf-8").splitlines()]
    kinds = {classify(r["channel"], r["raw"]).kind for r in records if r.get("channel", "syslog") in CHANNELS}
    assert {kind for kind in kinds if not documented(kind)} == set()
    assert len(kinds) > 10
