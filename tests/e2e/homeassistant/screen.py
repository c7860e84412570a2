"""Home Assistant in a real Chromium, signed in: what somebody would see."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.homeassistant.hass import Hass
from tests.support.chromium import PATIENCE, Page, browser

# every element, those inside of shadow roots too, and what each says itself
_ALL = """(() => {
  const all = []
  const walk = n => { if (n.shadowRoot) walk(n.shadowRoot); for (const c of n.children || []) { all.push(c); walk(c) } }
  walk(document)
  return all
})()"""
_OWN = "[...e.childNodes].filter(n => n.nodeType == 3).map(n => n.data).join(' ').replace(/\\s+/g, ' ').trim()"
_TEXT = f"{_ALL}.filter(e => !/^(STYLE|SCRIPT)$/.test(e.tagName)).map(e => {_OWN}).filter(t => t).join('\\n')"


class Screen:
    """A tab with Home Assistant in it."""

    def __init__(self, hass: Hass, page: Page) -> None:
        self._address = f"http://127.0.0.1:{hass.ha.ha_port}"
        self._token = hass.ha.token
        self.page = page

    async def sign_in(self, width: int, height: int) -> None:
        tokens = {
            "access_token": self._token, "token_type": "Bearer", "refresh_token": "", "expires_in": 1800,
            "expires": 9_999_999_999_999, "hassUrl": self._address, "clientId": f"{self._address}/",
        }  # fmt: skip
        stored = {"hassTokens": json.dumps(tokens), "dockedSidebar": '"always_hidden"'}
        script = f"if (location.origin == {self._address!r}) Object.assign(localStorage, {json.dumps(stored)})"
        await self.page.do("Page.addScriptToEvaluateOnNewDocument", source=script)
        await self.resize(width, height)

    async def resize(self, width: int, height: int) -> None:
        await self.page.do(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    async def open(self, path: str) -> None:
        await self.page.do("Page.navigate", url=self._address + path)

    async def text(self) -> str:
        """All that is written there, a line for each element."""
        return str(await self.page.value(_TEXT))

    async def shows(self, *texts: str) -> None:
        """Wait until all of these are there."""
        end = time.monotonic() + PATIENCE
        while missing := [one for one in texts if one not in (found := await self.text())]:
            assert time.monotonic() < end, f"{missing} not in:\n{found}"
            await asyncio.sleep(0.5)

    async def tags(self) -> set[str]:
        """Names of the elements, in lower case."""
        return set(await self.page.value(f"[...new Set({_ALL}.map(e => e.tagName.toLowerCase()))]"))

    async def links(self, start: str) -> set[str]:
        """Where the links lead that begin so."""
        found = await self.page.value(f"{_ALL}.filter(e => e.tagName == 'A').map(e => e.getAttribute('href') || '')")
        return {one for one in found if one.startswith(start)}


@asynccontextmanager
async def screen(hass: Hass, folder: Path, width: int = 1600, height: int = 1800) -> AsyncIterator[Screen]:
    """A browser with a profile in `folder`."""
    async with browser(folder, (width, height)) as page:
        shown = Screen(hass, page)
        await shown.sign_in(width, height)
        yield shown
