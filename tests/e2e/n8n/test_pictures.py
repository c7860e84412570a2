"""Pictures of the canvases for the README: N8N_PICTURES=n8n_workflows/pictures make e2e-n8n ARGS='-k pictures'.

N8N_PICTURES_OF='3-*' takes those alone.
"""

import asyncio
import os
from pathlib import Path

import pytest

from tests.e2e.n8n.n8n import N8n
from tests.e2e.n8n.stage import WORKFLOWS, Ports, workflow
from tests.support.chromium import CHROMIUM, browser

FOLDER = os.environ.get("N8N_PICTURES", "")
WHICH = os.environ.get("N8N_PICTURES_OF", "*")
READY = "document.querySelectorAll('[data-test-id=canvas-node], .vue-flow__node').length"

pytestmark = pytest.mark.skipif(not FOLDER or not CHROMIUM, reason="N8N_PICTURES names no folder, or no chromium")


async def test_pictures(n8n: N8n, ports: Ports, tmp_path: Path) -> None:
    folder = Path(FOLDER).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    async with browser(tmp_path) as page:
        await page.do("Network.setCookie", name="n8n-auth", value=n8n.cookie, url=n8n.url)
        script = "localStorage.setItem('n8n-browserId', 'tests'); "
        script += "addEventListener('beforeunload', (event) => event.stopImmediatePropagation(), true)"  # it asks
        await page.do("Page.addScriptToEvaluateOnNewDocument", source=script)
        for path in sorted(WORKFLOWS.glob(f"{WHICH}.json")):
            raw = workflow(path.stem, ports)
            await page.do("Page.navigate", url=f"{n8n.url}/workflow/{raw['id']}")
            await page.becomes(f"{READY} >= {len(raw['nodes']) // 2}")
            await asyncio.sleep(3)  # it moves things into view
            await page.value("document.dispatchEvent(new KeyboardEvent('keydown', {key: '1', code: 'Digit1'}))")
            await asyncio.sleep(1)
            await page.picture(folder / f"{path.stem}.png")
