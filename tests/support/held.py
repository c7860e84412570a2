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
    await asyncio.wait([opened, task], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    try:
        yield await opened
    finally:
        closing.set()
        await task
