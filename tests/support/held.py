"""Holds a context manager open in a task of its own: anyio's scopes must be left by the task that entered them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def held(manager: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
    opened: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    closing = asyncio.Event()

    async def hold() -> None:
        async with manager as value:
            opened.set_result(value)
            await closing.wait()

    task = asyncio.create_task(hold())
    task.add_done_callback(lambda _: opened.done() or opened.cancel())
    try:
        value = await opened
    except asyncio.CancelledError:
        await task
        raise
    try:
        yield value
    finally:
        closing.set()
        await task
