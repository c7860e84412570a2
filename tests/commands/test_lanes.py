"""Order and bounds."""

import asyncio
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from mqtt_bridge.commanding.lanes import Follow, Lanes


@given(st.lists(st.integers(0, 3), max_size=30), st.integers(1, 4))
def test_each_lane_keeps_its_order_and_no_more_run_than_may(keys: list[int], at_once: int) -> None:
    done: list[tuple[int, int]] = []
    busy: dict[int, int] = {}
    most = [0]

    async def do(item: tuple[int, int], _follow: Follow) -> None:
        key, _ = item
        assert busy.get(key, 0) == 0, "one at a time in a lane"
        busy[key] = 1
        most[0] = max(most[0], sum(busy.values()))
        await asyncio.sleep(0)
        busy[key] = 0
        done.append(item)

    async def run() -> None:
        lanes: Lanes[tuple[int, int]] = Lanes(do, at_once=at_once)
        task = asyncio.create_task(lanes.serve())
        taken = [(key, number) for number, key in enumerate(keys) if lanes.add(key, (key, number))]
        while len(done) < len(taken):
            await asyncio.sleep(0)
        assert len(lanes) == 0
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        for key in set(keys):
            assert [item for item in done if item[0] == key] == [item for item in taken if item[0] == key]

    asyncio.run(run())
    assert most[0] <= at_once


async def test_there_is_an_end_to_what_waits_and_to_what_waits_for_one_thing() -> None:
    async def do(_item: int, _follow: Follow) -> None:
        await asyncio.Event().wait()

    lanes: Lanes[int] = Lanes(do, waiting=5, lane=3)
    assert [lanes.add("a", n) for n in range(4)] == [True, True, True, False]
    assert [lanes.add(str(n), n) for n in range(4)] == [True, True, False, False]
    assert len(lanes) == 5
    assert lanes.lane("a") == (0, 1, 2)


async def test_what_was_cut_off_or_never_begun_is_left() -> None:
    begun: list[int] = []

    async def do(item: int, _follow: Follow) -> None:
        begun.append(item)
        if item:
            await asyncio.Event().wait()

    lanes: Lanes[int] = Lanes(do)
    for item in (0, 1, 2):
        lanes.add("a", item)
    task = asyncio.create_task(lanes.serve())
    while begun != [0, 1]:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert lanes.rest() == [1, 2]


async def test_what_is_only_looked_at_holds_nobody_up() -> None:
    begun: list[int] = []
    ends = asyncio.Event()

    async def do(item: int, follow: Follow) -> None:
        begun.append(item)
        follow()
        follow()
        await ends.wait()

    lanes: Lanes[int] = Lanes(do, at_once=1, followed=3)
    task = asyncio.create_task(lanes.serve())
    for item in range(6):
        lanes.add(item, item)
    for _ in range(50):
        await asyncio.sleep(0)
    assert begun == [0, 1, 2, 3], "three that are looked at, and the one that may begin"
    ends.set()
    while len(lanes):
        await asyncio.sleep(0)
    assert begun == [0, 1, 2, 3, 4, 5]
    task.cancel()
    await asyncio.wait([task])
