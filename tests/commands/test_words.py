"""Which word is which action: made from the table, so that a new action is a new word."""

import pytest

from mqtt_bridge.actions import ACTIONS
from mqtt_bridge.commanding.own_words import WORDS as OWN_WORDS
from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.commanding.words import ALIASES, FORCED, TargetKind, Vocabulary
from tests.commands.desk import ROWS, Row

WORDS = Vocabulary(ROWS, OWN_WORDS)


@pytest.mark.parametrize(
    ("target", "said", "action", "risk"),
    [
        ("guest", "start", "guest.start", "operate"),
        ("guest", "START", "guest.start", "operate"),
        ("guest", "guest.stop", "guest.stop", "change"),
        ("guest", "snapshot", "snapshot.create", "operate"),
        ("guest", "snapshot.create", "snapshot.create", "operate"),
        ("node", "wakeonlan", "node.wakeonlan", "operate"),
        ("datastore", "verify", "datastore.verify", "operate"),
        ("site", "sweep", "site.sweep", "destroy"),
        ("site", "maintenance-end", "maintenance_end", "operate"),
        ("guest", "acknowledge", "acknowledge", "operate"),
    ],
)
def test_what_is_meant(target: TargetKind, said: str, action: str, risk: str) -> None:
    word = WORDS.find(target, said)
    assert (word.action, word.risk) == (action, risk)


def test_force_makes_a_stop_of_a_shutdown() -> None:
    assert WORDS.find("guest", "shutdown", force=True).action == "guest.stop"
    assert WORDS.find("guest", "stop", force=True).action == "guest.stop"
    for target, said in (("guest", "start"), ("site", "sweep"), ("node", "maintenance")):
        with pytest.raises(CommandError, match="knows no force"):
            WORDS.find(target, said, force=True)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("target", "said", "cure"),
    [
        ("guest", "strat", "Did you mean start?"),
        ("guest", "reboott", "Did you mean reboot"),
        ("guest", "zzz", "There are: acknowledge, exec, "),
        ("node", "start", "There are: acknowledge, maintenance, maintenance_end, wakeonlan."),
        ("datastore", "maintenance", "There are: verify."),
    ],
)
def test_an_unknown_word_is_told_what_is_near(target: TargetKind, said: str, cure: str) -> None:
    with pytest.raises(CommandError) as caught:
        WORDS.find(target, said)
    assert caught.value.code == "unknown_word"
    assert cure in caught.value.cure


def test_a_word_with_several_rows_has_the_worst_risk() -> None:
    rows = (Row("guest.resume", "operate", "guest"), Row("guest.resume", "change", "guest"))
    assert Vocabulary(rows).find("guest", "resume").risk == "change"


def test_every_action_of_the_real_table_can_be_said_and_aliases_hide_none() -> None:
    real = Vocabulary(ACTIONS.values(), OWN_WORDS)
    for row in ACTIONS.values():
        if row.target != "storage":
            assert real.find(row.target, row.name).action == row.name
            assert real.find(row.target, row.name.removeprefix(f"{row.target}.")).action == row.name
    names = set(ACTIONS)
    assert [text for (target, text), name in ALIASES.items() if f"{target}.{text}" in names - {name}] == []
    assert set(FORCED) | set(FORCED.values()) <= names
