"""docs/commands.md: its examples are commands, and every refusal and status is explained."""

import re
from pathlib import Path
from typing import get_args

from mqtt_bridge.commanding.own_words import WORDS as OWN_WORDS
from mqtt_bridge.commanding.request import read
from mqtt_bridge.commanding.words import Vocabulary
from mqtt_bridge.model import CommandResult, RefusalCode
from tests.commands.desk import ROWS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")
NOW = 1_795_255_200.0  # the time in the examples


def test_the_examples_are_commands() -> None:
    words = Vocabulary(ROWS, OWN_WORDS)
    examples = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) >= 2
    for example in examples:
        asked = read(example.encode(), NOW)
        assert words.find("guest", asked.command, force=asked.force)


def test_every_answer_is_explained() -> None:
    status = CommandResult.model_fields["status"].annotation
    tables = re.findall(r"^\| (`.*?) \| ", TEXT, re.MULTILINE)
    told = {word for row in tables for word in re.findall(r"`([a-z_]+)`", row)}
    assert {*get_args(RefusalCode), *get_args(status)} <= told
