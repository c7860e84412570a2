"""One notice for several: who has it, who waits, who refused."""

import pytest

from mqtt_bridge.notifiers import several
from mqtt_bridge.notifiers.notice import LaterError, RefusedError
from mqtt_bridge.notifiers.several import Outcome, Several

SENT, LATER, REFUSED = Outcome("sent", "ok"), Outcome("later", "busy", 30), Outcome("refused", "no")


def test_the_longest_wait_that_a_service_asked_for_counts() -> None:
    with pytest.raises(LaterError) as caught:
        Several().settle("1", {"a": LATER, "b": Outcome("later", "busy", 90), "c": Outcome("later"), "d": SENT})
    assert caught.value.after == 90


def test_nobody_got_it() -> None:
    with pytest.raises(RefusedError, match="a: refused, no; b: refused, no"):
        Several().settle("1", {"a": REFUSED, "b": REFUSED})


def test_each_is_asked_once_and_notices_do_not_mix() -> None:
    made = Several()
    assert made.remaining("1", ["a", "b", "a"]) == ["a", "b"]
    with pytest.raises(LaterError):
        made.settle("1", {"a": SENT, "b": LATER})
    assert made.remaining("1", ["a", "b"]) == ["b"]
    assert made.remaining("2", ["a", "b"]) == ["a", "b"]
    assert made.settle("1", {"b": REFUSED}, "ref").answer == "a: sent, ok; b: refused, no"
    assert made.remaining("1", ["a", "b"]) == ["a", "b"], "what is settled is forgotten"


def test_what_waits_for_ever_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(several, "_NOTICES", 3)
    made = Several()
    for number in range(10):
        with pytest.raises(LaterError):
            made.settle(str(number), {"a": SENT, "b": LATER})
    assert [number for number in range(10) if made.remaining(str(number), ["a"]) == []] == [7, 8, 9]
