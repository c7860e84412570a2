"""Show a mirror and its events until told to stop: a live view on a terminal, lines elsewhere or where asked for."""

import asyncio
import sys
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from proxmox_mcp.live import LiveView, event_line, repeated_line
from proxmox_mcp.state import State
from proxmox_mcp.told import Told

REFRESH = 0.5  # seconds
BACK = "Connected again. Of what happened meanwhile the last 50 of each site are shown; `mqtt-bridge events` has all."
RECENT = 10  # earlier events that a stream begins with


async def show(state: State, connect: Sequence[str], stop: asyncio.Future[None], told: Told) -> None:
    """The live view where there is a terminal, else how to connect and then the events; until `stop` is done."""
    console = Console()
    if console.is_terminal:
        await _live(state, connect, stop, console, told)
        return
    for line in connect:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    await stream(state, stop, told, console=console)


async def stream(
    state: State, stop: asyncio.Future[None], told: Told, *, as_json: bool = False, console: Console | None = None
) -> None:
    """The last events, then each as it comes, as lines or as JSON."""
    write = _json_lines(told) if as_json else _lines(told, console or Console())
    first = True
    while not stop.done():
        if (view := state.current()) is not None:
            events = [event for event in view.events() if told.fits(event)]
            if first:
                told.skip(events[RECENT:])
                first = False
            told.add(reversed(events))
            write()
        await asyncio.wait([stop], timeout=REFRESH)
    write()


async def _live(state: State, connect: Sequence[str], stop: asyncio.Future[None], console: Console, told: Told) -> None:
    with Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        while not stop.done():
            view = state.current()
            if view is not None:
                told.add(reversed(view.events()))
                told.news()
                live.update(LiveView(view, connect, told), refresh=True)
            await asyncio.wait([stop], timeout=REFRESH)


def _lines(told: Told, console: Console) -> Callable[[], None]:
    problem, losses = "", 0

    def write() -> None:
        nonlocal problem, losses
        for line in _new_lines(told):
            console.print(line, soft_wrap=True)
        sys.stdout.flush()
        if (told.problem, told.losses) != (problem, losses):
            problem, losses = told.problem, told.losses
            sys.stderr.write(f"{problem or BACK}\n")

    return write


def _new_lines(told: Told) -> Iterator[Text]:
    for happening in told.news():
        if not happening.printed:
            yield event_line(happening)
        elif happening.late:
            yield repeated_line(happening)
        happening.printed = True
        happening.late.clear()
    if told.unprinted:
        yield Text(f"… and {told.unprinted} more, faster than they could be shown", "bold")
        told.unprinted = 0


def _json_lines(told: Told) -> Callable[[], None]:
    def write() -> None:
        for event in told.raw():
            sys.stdout.write(f"{event.model_dump_json()}\n")
        if told.unprinted:
            sys.stderr.write(f"… and {told.unprinted} more, faster than they could be shown\n")
            told.unprinted = 0
        sys.stdout.flush()

    return write
