"""The command, on the journal of a bridge that runs and of one that does not."""

import argparse
import io
import json
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.errors import BridgeError
from mqtt_bridge.notifying import deliveries_cli
from tests.notify.making import event
from tests.notify.parts import Service, running, until
from tests.support.mosquitto import Mosquitto


def command(folder: Path, *words: str) -> tuple[int, str]:
    top = argparse.ArgumentParser()
    deliveries_cli.add_parser(top.add_subparsers())
    out = io.StringIO()
    return deliveries_cli.run(folder, top.parse_args(["deliveries", *words]), out), out.getvalue()


def listed(folder: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in command(folder, "--json", *words)[1].splitlines()]


async def test_what_was_given_up_is_shown_and_tried_again_while_the_bridge_runs(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        good, bad = [await stack.enter_async_context(Service(name)) for name in ("A", "B")]
        bad.status = 404
        broker = await stack.enter_async_context(Mosquitto(tmp_path / "m"))
        ports = {"A": good.port, "B": bad.port}
        journal, notify = await stack.enter_async_context(running(tmp_path / "journal.db", broker.options, ports))
        happened = event("guest.oom", at=time.time(), guest=1, title="Guest 1\x1b[31m was killed")
        await journal.commit([happened], {})
        await until(lambda: len(good.got) == 2 and notify.problems)
        (parked,) = listed(tmp_path, "--parked")
        assert (parked["notice"], parked["notifier"], parked["state"]) == (happened.id, "B", "parked")
        assert parked["answer"] == "B says 404. Correct its address."
        assert len(listed(tmp_path)) == 3
        (line,) = command(tmp_path, "--parked")[1].splitlines()
        assert "B             parked        error     Guest 1 was killed  [B says 404. Correct its address.]" in line
        bad.status = 200
        assert command(tmp_path, "--retry", happened.id) == (0, "1 delivery is tried again.\n")
        await until(lambda: bad.ids == [happened.id])
        assert command(tmp_path, "--retry", "all") == (1, "0 deliveries are tried again.\n")
        await until(lambda: listed(tmp_path, "--parked") == [])
    assert [row["state"] for row in listed(tmp_path)] == ["sent"] * 3, "also without a bridge"
    assert [row["number"] for row in listed(tmp_path, "--limit", "1")] == [3]


def test_without_a_journal_it_says_so(tmp_path: Path) -> None:
    for words in ([], ["--retry", "all"]):
        with pytest.raises(BridgeError, match="no journal yet"):
            command(tmp_path, *words)
