"""What is the same notification, and what only looks like it."""

from __future__ import annotations

import json

import pytest

from mqtt_bridge.listeners.reposts import Reposts

TEST = json.dumps({"title": "Test notification ", "message": "```\nThis is a test.\n```", "priority": 1}).encode()
STAMPED = json.dumps({"title": "Test notification ", "timestamp": 1790000000}).encode()


class Clock:
    now = 1_800_000_059.0  # a second before a minute ends

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_body_with_a_timestamp_is_what_it_says(clock: Clock) -> None:
    reposts = Reposts(clock)
    first = reposts.identity("webhook", STAMPED, 1790000000.0)
    clock.now += 86400
    assert reposts.identity("webhook", STAMPED, 1790000000.0) == first
    assert Reposts(clock).identity("webhook", STAMPED, 1790000000.0) == first
    assert reposts.identity("webhook", STAMPED.replace(b"1790000000", b"1790000001"), 1.0) != first
    assert reposts.identity("gotify", STAMPED, 1790000000.0) != first


def test_one_without_is_the_same_for_a_minute_from_its_first_arrival(clock: Clock) -> None:
    reposts = Reposts(clock)
    first = reposts.identity("gotify", TEST, None)
    for _ in range(5):
        clock.now += 10
        assert reposts.identity("gotify", TEST, None) == first
    clock.now += 10
    assert reposts.identity("gotify", TEST, None) != first


def test_after_a_restart_it_is_the_same_within_a_minute_of_the_clock(clock: Clock) -> None:
    clock.now += 1
    first = Reposts(clock).identity("gotify", TEST, None)
    clock.now += 59
    assert Reposts(clock).identity("gotify", TEST, None) == first


def test_what_was_written_down_is_the_same_over_the_turn_of_a_minute(clock: Clock) -> None:
    """A sender tries again when the bridge died between its commit and its answer."""
    reposts = Reposts(clock)
    first = reposts.identity("gotify", TEST, None)
    written = reposts.text()
    clock.now += 2
    again = Reposts(clock)
    again.read(written)
    assert again.identity("gotify", TEST, None) == first
    assert Reposts(clock).identity("gotify", TEST, None) != first
    clock.now += 60
    assert again.identity("gotify", TEST, None) != first
    assert len(again.text()) < 100


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"a": "x"}', '{"a": null}'])
def test_what_cannot_be_read_says_nothing(clock: Clock, text: str | None) -> None:
    reposts = Reposts(clock)
    reposts.read(text)
    assert reposts.text() == "{}"


def test_what_is_written_down_is_bounded(clock: Clock) -> None:
    reposts = Reposts(clock)
    last = ""
    for number in range(2000):
        last = reposts.identity("gotify", b"%d" % number, None)
    assert len(reposts.text()) < 10_000
    again = Reposts(clock)
    again.read(reposts.text())
    assert again.identity("gotify", b"1999", None) == last


def test_a_text_that_tells_a_time_of_today_needs_no_window(clock: Clock) -> None:
    """A backup's log does; a reminder that repeats the time of last week does not count."""
    reposts = Reposts(clock)
    told = clock.now - 7200
    first = reposts.identity("gotify", TEST, told)
    clock.now += 3600
    assert reposts.identity("gotify", TEST, told) == first
    week = clock.now - 7 * 86400
    reminder = reposts.identity("gotify", TEST, week)
    clock.now += 3600
    assert reposts.identity("gotify", TEST, week) != reminder


def test_a_sender_can_name_it(clock: Clock) -> None:
    reposts = Reposts(clock)
    first = reposts.identity("gotify", TEST, None, "key-1")
    clock.now += 3600
    assert reposts.identity("gotify", TEST, None, "key-1") == first
    assert reposts.identity("gotify", TEST, None, "key-2") != first


@pytest.mark.parametrize(
    "body",
    [
        b'{"timestamp":1790000000}',
        b'{"message": "broken "json" here", "timestamp" : "1790000000"',
        b'{"a": [{"clock": 1790000000, "ns": 0}]}',
        b'{"Time": "2026-11-21T07:00:00Z"}',
    ],
)
def test_fields_that_are_a_timestamp(clock: Clock, body: bytes) -> None:
    assert "@" not in Reposts(clock).identity("webhook", body, None)


@pytest.mark.parametrize(
    "body", [b'{"message": "say \\"timestamp\\": 1790000000"}', b'{"time": 5}', b'{"message": "2026-11-21 07:00"}', b""]
)
def test_fields_that_are_none(clock: Clock, body: bytes) -> None:
    assert "@" in Reposts(clock).identity("webhook", body, None)


def test_its_memory_is_bounded(clock: Clock) -> None:
    reposts = Reposts(clock)
    for number in range(5000):
        reposts.identity("gotify", b"%d" % number, None)
    assert len(reposts._first) == 1000
