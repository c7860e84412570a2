"""docs/security.md names tests: each of them exists."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"^(?:async )?def (test_\w+)", re.MULTILINE)


def test_every_test_that_the_table_names_is_there() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## What is tested of it")[2]
    named = set(re.findall(r"`(test_\w+)`", text))
    there = {name for file in (ROOT / "tests").rglob("test_*.py") for name in NAME.findall(file.read_text("utf-8"))}
    assert len(named) > 30
    assert named - there == set()
    for path in re.findall(r"`(tests/[\w/.]+)`", text):
        assert (ROOT / path).exists(), path
