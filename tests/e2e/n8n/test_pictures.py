"""Pictures of the canvases for the README: N8N_PICTURES=n8n_workflows/pictures make e2e-n8n ARGS='-k pictures'."""

import asyncio
import base64
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession, ClientWebSocketResponse

from tests.e2e.n8n.n8n import N8n, steady_port
from tests.e2e.n8n.stage import WORKFLOWS, Ports, workflow

FOLDER = os.environ.get("N8N_PICTURES", "")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome") or ""
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=2400,1150")
PATIENCE = 60.0
READY = "document.querySelectorAll('[data-test-id=canvas-node], .vue-flow__node').length"

pytestmark = pytest.mark.skipif(not FOLDER or not CHROMIUM, reason="N8N_PICTURES names no folder, or no chromium")


class Page:
    """A page of a browser, by the DevTools protocol."""

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
        return (await self.do("Runtime.evaluate", expression=expression))["result"].get("value")


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    port = steady_port()
    words = (*FLAGS, f"--remote-debugging-port={port}", f"--user-data-dir={folder}", "about:blank")
    process = await asyncio.create_subprocess_exec(CHROMIUM, *words, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with ClientSession() as web:
            address = await _address(web, port)
            async with web.ws_connect(address, max_msg_size=0) as socket:
                yield Page(socket)
    finally:
        process.terminate()
        await process.wait()


async def _address(web: ClientSession, port: int) -> str:
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                async with web.get(f"http://127.0.0.1:{port}/json") as answer:
                    pages = [one for one in await answer.json() if one["type"] == "page"]
                    if pages:
                        return str(pages[0]["webSocketDebuggerUrl"])
            except OSError:
                pass
            await asyncio.sleep(0.2)


async def test_pictures(n8n: N8n, ports: Ports, tmp_path: Path) -> None:
    folder = Path(FOLDER).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    async with browser(tmp_path) as page:
        await page.do("Page.enable")
        await page.do("Network.setCookie", name="n8n-auth", value=n8n.cookie, url=n8n.url)
        script = "localStorage.setItem('n8n-browserId', 'tests')"
        await page.do("Page.addScriptToEvaluateOnNewDocument", source=script)
        for path in sorted(WORKFLOWS.glob("*.json")):
            raw = workflow(path.stem, ports)
            await page.do("Page.navigate", url=f"{n8n.url}/workflow/{raw['id']}")
            async with asyncio.timeout(PATIENCE):
                while (await page.value(READY) or 0) < len(raw["nodes"]) // 2:
                    await asyncio.sleep(0.5)
            await asyncio.sleep(3)  # it moves things into view
            await page.value("document.dispatchEvent(new KeyboardEvent('keydown', {key: '1', code: 'Digit1'}))")
            await asyncio.sleep(1)
            picture = await page.do("Page.captureScreenshot", format="png")
            (folder / f"{path.stem}.png").write_bytes(base64.b64decode(picture["data"]))
