"""Absence proves nothing; a destroy task or a direct read does."""

from mqtt_bridge.errors import ForbiddenError, NotFoundError, ProxmoxError
from mqtt_bridge.proxmox.gone import POLLS, Departures


class Cluster:
    """What a direct read of a guest answers."""

    def __init__(self) -> None:
        self.answer: dict[int, ProxmoxError] = {}
        self.reads = 0

    async def read(self, vmid: int) -> None:
        self.reads += 1
        if vmid in self.answer:
            raise self.answer[vmid]


KNOWN = list(range(100, 110))
MISSING_ONE = set(KNOWN) - {103}


async def _polls(departures: Departures[int], present: set[int], times: int) -> tuple[list[int], list[int]]:
    outcome: tuple[list[int], list[int]] = ([], [])
    for _ in range(times):
        outcome = await departures.poll(KNOWN, present, trusted=lambda _: True)
    return outcome


async def test_three_polls_and_a_read_prove_it_and_it_is_cleared_one_poll_later() -> None:
    cluster = Cluster()
    cluster.answer[103] = NotFoundError("Configuration file does not exist")
    departures = Departures(cluster.read)
    assert await _polls(departures, MISSING_ONE, POLLS - 1) == ([], [])
    assert cluster.reads == 0
    assert await _polls(departures, MISSING_ONE, 1) == ([103], [])
    assert await _polls(departures, MISSING_ONE, 1) == ([], [103])


async def test_what_may_not_be_read_or_still_exists_is_kept_for_ever() -> None:
    for answer in (ForbiddenError("Permission check failed"), None):
        cluster = Cluster()
        if answer:
            cluster.answer[103] = answer
        departures = Departures(cluster.read)
        assert await _polls(departures, MISSING_ONE, 10) == ([], [])
        assert departures.absent() == {103}


async def test_a_destroy_task_proves_it_at_once() -> None:
    cluster = Cluster()
    departures = Departures(cluster.read)
    departures.destroyed(103)
    assert await _polls(departures, MISSING_ONE, 1) == ([103], [])
    assert cluster.reads == 0


async def test_a_token_that_lost_its_rights_proves_nothing() -> None:
    cluster = Cluster()
    departures = Departures(cluster.read)
    for _ in range(10):
        assert await departures.poll(KNOWN, set(), trusted=lambda _: False) == ([], [])
    assert cluster.reads == 0
    assert departures.hidden(len(KNOWN)) == len(KNOWN)


async def test_what_comes_back_was_never_gone() -> None:
    cluster = Cluster()
    cluster.answer[103] = NotFoundError("not there")
    departures = Departures(cluster.read)
    await _polls(departures, MISSING_ONE, POLLS)
    assert await _polls(departures, set(KNOWN), 1) == ([], [])
    assert await _polls(departures, MISSING_ONE, POLLS - 1) == ([], [])


async def test_many_at_once_are_hidden_until_each_is_proven() -> None:
    cluster = Cluster()
    half = set(KNOWN[:5])
    departures = Departures(cluster.read)
    await _polls(departures, half, 1)
    assert departures.hidden(len(KNOWN)) == 5
    cluster.answer = {v: NotFoundError("gone") for v in KNOWN[5:]}
    await _polls(departures, half, POLLS)
    assert departures.hidden(len(KNOWN)) == 0
