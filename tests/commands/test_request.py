"""What a payload is taken for."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.commanding.refusal import CommandError
from mqtt_bridge.commanding.request import FRESH, LARGEST, Asked, read

NOW = 1_795_255_200.0  # 2026-11-21T10:00:00Z
GOOD: dict[str, Any] = {"command": "start", "id": "one", "ts": NOW}


def refused(payload: bytes | dict[str, Any]) -> CommandError:
    with pytest.raises(CommandError) as caught:
        read(json.dumps(payload).encode() if isinstance(payload, dict) else payload, NOW)
    return caught.value


@pytest.mark.parametrize("text", ["start", " start\n", "Shutdown", "maintenance_end", "snapshot.create"])
def test_a_word_alone(text: str) -> None:
    asked = read(text.encode(), NOW)
    assert (asked.command, asked.bare) == (text.strip(), True)


@pytest.mark.parametrize(
    "ts",
    [NOW, int(NOW), "2026-11-21T10:00:00Z", "2026-11-21T11:00:00+01:00", "2026-11-21T10:00:00", str(NOW), NOW - FRESH,
     NOW + FRESH],
)  # fmt: skip
def test_times_that_are_fresh(ts: object) -> None:
    asked = read(json.dumps({**GOOD, "ts": ts}).encode(), NOW)
    assert abs(asked.ts - NOW) <= FRESH
    assert not asked.bare


def test_every_field_arrives() -> None:
    more = {
        "force": True, "args": {"timeout": 5}, "reason": "because", "who": "ann", "wait": False, "timeout": 5,
        "dry_run": True, "approval": "0" * 32, "progress": True,
    }  # fmt: skip
    assert read(json.dumps({**GOOD, **more}).encode(), NOW) == Asked(**{**GOOD, **more})


@pytest.mark.parametrize(
    ("ts", "says"),
    [
        (NOW - 61, ("2026-11-21T09:58:59Z", "2026-11-21T10:00:00Z", "61 s before")),
        (NOW + 61, ("2026-11-21T10:01:01Z", "2026-11-21T10:00:00Z", "61 s after")),
        ("2026-11-21T12:00:00", ("7200 s after", "NTP")),
        (1, ("1970-01-01",)),
    ],
)
def test_what_is_not_fresh_names_both_times(ts: object, says: tuple[str, ...]) -> None:
    error = refused({**GOOD, "ts": ts})
    assert (error.code, error.identity) == ("stale", "one")
    assert [text for text in says if text not in error.message] == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"ts": None}, "ts: give a time"),
        ({"ts": "yesterday"}, "ts: give a time"),
        ({"ts": True}, "ts: give a time"),
        ({"ts": -1}, "ts: give a time"),
        ({"ts": NOW * 1000}, "divide milliseconds by 1000"),
        ({"command": 5}, "command: it must be a word"),
        ({"command": "start 100"}, "command: it must be a word"),
        ({"force": "yes"}, "force: it must be true or false"),
        ({"wait": 1}, "wait: it must be true or false"),
        ({"args": [1]}, "args: it must be an object"),
        ({"timeout": 0}, "timeout: it must be a number of seconds"),
        ({"timeout": True}, "timeout: it must be a number of seconds"),
        ({"reason": "x" * 201}, "reason: it must be text"),
        ({"approval": "a/b"}, "approval: it must be the id"),
        ({"colour": "red"}, "colour: no such field; there are command, id, ts, force"),
    ],
)
def test_what_is_wrong_names_its_field(change: dict[str, Any], says: str) -> None:
    error = refused({**GOOD, **change})
    assert (error.code, error.identity) == ("wrong", "one")
    assert says in error.message


@pytest.mark.parametrize("key", ["id", "ts", "command"])
def test_json_needs_all_three(key: str) -> None:
    error = refused({name: value for name, value in GOOD.items() if name != key})
    assert error.code == "wrong"
    assert f"{key}: missing" in error.message


@pytest.mark.parametrize("identity", ["", "a b", "a/b", "x" * 65, 5, None, "+"])
def test_an_id_that_is_none_comes_back_nowhere(identity: object) -> None:
    error = refused({**GOOD, "id": identity})
    assert (error.code, error.identity) == ("wrong", None)


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b"x" * (LARGEST + 1), "too_large"),
        (b"\xff\xfe", "not_json"),
        (b"start 100", "not_json"),
        (b"{", "not_json"),
        (b"[]", "not_json"),
        (b'"start"', "not_json"),
        (b"5", "not_json"),
        (b"   ", "not_json"),
        (b"[" * LARGEST, "not_json"),
        (b'{"command":"start","id":"a","ts":NaN}', "not_json"),
    ],
)
def test_what_is_no_command(payload: bytes, code: str) -> None:
    assert refused(payload).code == code


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
FIELDS = st.sampled_from(["command", "id", "ts", "force", "args", "reason", "who", "wait", "timeout", "approval", "x"])


def outcome(payload: bytes) -> Asked | CommandError:
    try:
        return read(payload, NOW)
    except CommandError as error:
        return error


@given(st.binary() | st.text().map(lambda t: t.encode(errors="surrogatepass")))
def test_any_bytes_are_read_or_refused(payload: bytes) -> None:
    found = outcome(payload)
    assert found.message if isinstance(found, CommandError) else found.bare


@given(st.dictionaries(FIELDS, ANYTHING, max_size=12))
def test_any_object_is_read_or_refused(change: dict[str, Any]) -> None:
    found = outcome(json.dumps({**GOOD, **change}).encode())
    if isinstance(found, CommandError):
        assert found.message
        assert found.identity is None or found.identity.isascii()
        return
    assert abs(found.ts - NOW) <= FRESH
    assert found.id
    assert set(change) <= {*GOOD, "force", "args", "reason", "who", "wait", "timeout", "approval"}
