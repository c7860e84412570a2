"""A page of a real Chromium, by the DevTools protocol; for pictures of what people see."""

import asyncio
import base64
import itertools
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, ClientWebSocketResponse

from tests.support.png import small

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars")
PATIENCE = 60.0


class Page:
    """One tab."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def do(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": params})
        while (answer := await self._socket.receive_json(timeout=PATIENCE)).get("id") != number:
            pass
        assert "error" not in answer, answer
        return dict(answer["result"])

    async def value(self, expression: str) -> Any:
        return (await self.do("Runtime.evaluate", expression=expression, returnByValue=True))["result"].get("value")

    async def becomes(self, expression: str) -> Any:
        """Wait until it is true, and give what it is."""
        async with asyncio.timeout(PATIENCE):
            while not (found := await self.value(expression)):
                await asyncio.sleep(0.3)
        return found

    async def picture(self, file: Path, **clip: float) -> None:
        """PNG of what is seen, or of a part: x, y, width, height in CSS pixels. Few colours: it is for documents."""
        part = {"clip": {"scale": 1, **clip}, "captureBeyondViewport": True} if clip else {}
        taken = await self.do("Page.captureScreenshot", format="png", **part)
        file.write_bytes(await asyncio.to_thread(small, base64.b64decode(taken["data"])))


@asynccontextmanager
async def browser(folder: Path, size: tuple[int, int] = (2400, 1150)) -> AsyncIterator[Page]:
    """A browser of its own, with its profile in `folder`."""
    flags = (*FLAGS, f"--window-size={size[0]},{size[1]}", "--remote-debugging-port=0", f"--user-data-dir={folder}")
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *flags, "about:blank", stderr=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with ClientSession() as web:
            address = await _address(web, folder / "DevToolsActivePort")
            async with web.ws_connect(address, max_msg_size=0) as socket:
                page = Page(socket)
                await page.do("Page.enable")
                yield page
    finally:
        process.terminate()
        await process.wait()


async def _address(web: ClientSession, told: Path) -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                port = int(told.read_text().split()[0])
                async with web.get(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [one for one in await answer.json() if one["type"] == "page"]
                    if pages:
                        return str(pages[0]["webSocketDebuggerUrl"])
            except (OSError, IndexError):
                pass
            await asyncio.sleep(0.2)
