"""Who gets a place, and whose."""

import time

import pytest

from mqtt_bridge.listeners.places import Places, Seat

GONE: list[str] = []


def fill(places: Places, *sources: str, silent: float = 0.0, **more: object) -> list[Seat]:
    """Seats of these sources that have been silent for so many seconds."""
    GONE.clear()
    found = []
    for source in sources:
        seat = Seat(source, lambda source=source: GONE.append(source), time.monotonic() - silent)  # type: ignore[misc]
        for name, value in more.items():
            setattr(seat, name, value)
        places.seat(seat)
        found.append(seat)
    return found


def test_as_long_as_there_are_places() -> None:
    places = Places(3, 2)
    fill(places, "a", "b")
    assert (places.find("a"), places.find("c"), GONE) == ("", "", [])


def test_who_was_silent_gives_way_to_his_like() -> None:
    places = Places(2)
    fill(places, "a", "a")
    assert places.find("a") == "too many connections"
    for seat in places:
        seat.since -= 2
    assert places.find("a") == ""
    assert (GONE, len(places), places.held("a")) == (["a"], 1, 1)


def test_who_has_more_gives_way_at_once() -> None:
    places = Places(4)
    fill(places, "a", "a", "a", "b")
    assert places.find("c") == ""
    assert GONE == ["a"]


def test_who_has_less_is_left_alone_however_silent() -> None:
    places = Places(3)
    fill(places, "b", silent=1000)
    fill(places, "a", "a")
    assert places.find("a") == "too many connections"
    assert places.held("b") == 1


def test_a_source_has_a_limit_of_its_own() -> None:
    places = Places(10, 2)
    fill(places, "a", "a")
    assert places.find("a") == "too many connections of one source"
    assert places.find("b") == ""


def test_who_is_worked_for_stays() -> None:
    places = Places(2)
    fill(places, "a", "a", silent=1000, busy=True)
    assert places.find("a") == places.find("b") == "too many connections"
    assert GONE == []


@pytest.mark.parametrize("first", [0, 1])
def test_the_least_goes_first(first: int) -> None:
    places = Places(2)
    seats = fill(places, "a", "a", silent=10)
    seats[first].rank, seats[1 - first].rank = 0, 1
    assert places.find("a") == ""
    assert list(places) == [seats[1 - first]]
    places.leave(seats[first])
    assert len(places) == 1


def test_a_grace_of_its_own() -> None:
    places = Places(1)
    fill(places, "a", silent=30, grace=60)
    assert places.find("a") == "too many connections"
