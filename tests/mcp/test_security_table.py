"""docs/security.md names tests: each of them exists, in the file that is named."""

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


def test_each_is_in_the_file_that_is_named_before_it() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## What is tested of it")[2]
    checked = 0
    for row in (line for line in text.splitlines() if line.startswith("| ")):
        files: list[Path] = []
        for name in re.findall(r"`(tests/[\w/.]+|test_\w+\.py|test_\w+)`", row):
            if name.startswith("tests/"):
                files = [ROOT / name] if name.endswith(".py") else list((ROOT / name).rglob("test_*.py"))
            elif name.endswith(".py"):
                files = list((ROOT / "tests").rglob(name))
            else:
                assert any(name in NAME.findall(file.read_text("utf-8")) for file in files), (name, row)
                checked += 1
    assert checked > 90


def test_every_part_of_the_rule_book_has_its_rows() -> None:
    text = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    for part in ("Policy", "Approvals", "Audit", "Secrets", "Principals and network"):
        rows = text.partition(f"### {part}\n")[2].partition("\n### ")[0]
        assert rows.count("\n| ") > 5, part
