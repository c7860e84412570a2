"""Show a mirror until told to stop: a live view on a terminal, a line per change elsewhere."""

import asyncio
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live

from proxmox_mcp.live import LiveView, event_line, task_line
from proxmox_mcp.state import State

REFRESH = 0.5  # seconds


async def show(state: State, connect: Sequence[str], stop: asyncio.Future[None]) -> None:
    """Until `stop` is done."""
    console = Console()
    if console.is_terminal:
        await _live(state, connect, stop, console)
    else:
        for line in connect:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        await _lines(state, stop, console)


async def _live(state: State, connect: Sequence[str], stop: asyncio.Future[None], console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False, redirect_stderr=False) as live:
        while not stop.done():
            view = state.current()
            if view is not None:
                live.update(LiveView(view, connect), refresh=True)
            await asyncio.wait([stop], timeout=REFRESH)


async def _lines(state: State, stop: asyncio.Future[None], console: Console) -> None:
    seen: set[str] | None = None
    while not stop.done():
        view = state.current()
        news = {} if view is None else {e.id: event_line(e) for e in reversed(view.events())}
        if view is not None:
            news |= {f"{t.upid} {t.status}": task_line(t) for t in reversed(view.tasks())}
        for identity, line in news.items():
            if seen is not None and identity not in seen:
                console.print(line, soft_wrap=True)
        sys.stdout.flush()
        seen = set(news) if view is not None else seen
        await asyncio.wait([stop], timeout=REFRESH)
