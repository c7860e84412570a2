"""The report that all measurements write to: printed at the end, and written to the file that BENCH_JSON names."""

import os
from pathlib import Path

import pytest

from tests.bench.report import Report

REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Report:
    return request.config.stash[REPORT]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.add_marker(pytest.mark.bench)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if not report.rows:
        return
    terminalreporter.write_line("")
    for line in report.text().splitlines():
        terminalreporter.write_line(line)
    if target := os.environ.get("BENCH_JSON"):
        report.write(Path(target))
        terminalreporter.write_line(f"written to {target}")
