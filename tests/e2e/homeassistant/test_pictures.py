"""Pictures of the blueprints' forms, as Home Assistant itself shows them in a real browser.

HA_PICTURES=ha_blueprints/pictures make e2e-ha ARGS='-k pictures'
HA_PICTURES_OF=ups_shutdown,approval: only these
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.homeassistant.blueprints import FOLDER, OURS, Phone, imported, ready
from tests.e2e.homeassistant.conftest import House
from tests.e2e.homeassistant.hass import Hass
from tests.support.chromium import CHROMIUM, Page, browser

TARGET = os.environ.get("HA_PICTURES", "")
ONLY = [name for name in os.environ.get("HA_PICTURES_OF", "").split(",") if name]
WIDTH, HEIGHT = 700, 3200
NEVER = 4_102_444_800_000  # milliseconds
# what is found in a page of nested shadow roots
DEEP = """
function deep(selector, root = document) {
  const found = [...root.querySelectorAll(selector)];
  for (const each of root.querySelectorAll('*')) if (each.shadowRoot) found.push(...deep(selector, each.shadowRoot));
  return found;
}
"""
CARD = (
    DEEP
    + """
(() => {
  const card = deep('blueprint-%s-editor').flatMap(each => deep('ha-card.blueprint, ha-card', each.shadowRoot))[0];
  if (!card || deep('ha-selector', card).length < 3) return null;
  const shown = (name, inside) => deep(name, card).every(each => each.shadowRoot && inside(each.shadowRoot));
  if (!shown('ha-selector', root => root.firstElementChild && root.firstElementChild.shadowRoot)) return null;
  const texts = deep('ha-markdown-element', card);
  if (!texts.length || !texts.every(each => each.childElementCount)) return null;
  if (!shown('ha-icon', root => deep('path', root).length)) return null;
  const box = card.getBoundingClientRect();
  return {x: box.x - 8, y: box.y - 8, width: box.width + 16, height: box.height + 16};
})()
"""
)

pytestmark = pytest.mark.skipif(not TARGET or not CHROMIUM, reason="HA_PICTURES names no folder, or no chromium")


async def test_pictures(house: House, handset: Phone, tmp_path: Path) -> None:
    hass, folder = house.hass, Path(TARGET).absolute()
    assert handset.device_id  # forms ask for a phone
    folder.mkdir(parents=True, exist_ok=True)
    await ready(house)
    async with browser(tmp_path, (WIDTH, HEIGHT)) as page:
        await _come_in(page, hass)
        for path in sorted(FOLDER.glob(f"*/{OURS}/*.yaml")):
            if not ONLY or path.stem in ONLY:
                await _take(page, hass, path, folder / f"{path.stem}.png")


async def _come_in(page: Page, hass: Hass) -> None:
    """As somebody who is logged in, on a screen that is high enough for every form."""
    url = f"http://127.0.0.1:{hass.ha.ha_port}"
    tokens = {
        "access_token": hass.ha.token, "token_type": "Bearer", "expires_in": 1800, "expires": NEVER, "hassUrl": url,
        "clientId": f"{url}/", "refresh_token": "",
    }  # fmt: skip
    script = f"localStorage.setItem('hassTokens', {json.dumps(json.dumps(tokens))})"
    await page.do("Page.addScriptToEvaluateOnNewDocument", source=script)
    size = {"width": WIDTH, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": False}
    await page.do("Emulation.setDeviceMetricsOverride", **size)


async def _take(page: Page, hass: Hass, path: Path, file: Path) -> None:
    domain, name = path.parent.parent.name, path.stem
    listed = f"{await imported(hass, name, domain)}"
    inputs = await _needed(hass, listed, domain)
    body = {"alias": name, "use_blueprint": {"path": listed, "input": inputs}}
    await hass.call(hass.ha.rest, "POST", f"/api/config/{domain}/config/{name}", body)
    place = f"/config/automation/edit/{name}" if domain == "automation" else f"/config/script/edit/{name}"
    try:
        await page.do("Page.navigate", url=f"http://127.0.0.1:{hass.ha.ha_port}{place}")
        box = await _still(page, CARD % domain)
        await page.picture(file, **box)
    finally:
        await hass.call(hass.ha.rest, "DELETE", f"/api/config/{domain}/config/{name}")


async def _still(page: Page, expression: str) -> dict[str, float]:
    """The place of the form, once it does not change any more."""
    before: dict[str, float] = {}
    for _ in range(60):
        box: dict[str, float] = await page.becomes(expression)
        await page.value("new Promise(done => setTimeout(done, 500))")
        if box == before:
            return box
        before = box
    raise AssertionError(f"it keeps moving: {before}")


async def _needed(hass: Hass, path: str, domain: str) -> dict[str, Any]:
    """Something for each input without a default: the first that fits."""
    listed = await hass.call(hass.ha.blueprints, domain)
    states, devices = await hass.states(), await hass.call(hass.ha.devices, False)
    found: dict[str, Any] = {}
    for section in listed[path]["metadata"]["input"].values():
        for key, each in section["input"].items():
            if "default" not in each:
                found[key] = _fits(each["selector"], states, devices)
    return found


def _fits(selector: dict[str, Any], states: dict[str, dict[str, Any]], devices: list[dict[str, Any]]) -> Any:
    ((kind, how),) = selector.items()
    if kind not in {"entity", "device"}:
        return "ann"
    filters = _list(how["filter"])
    if kind == "entity":
        domains = tuple(f"{domain}." for one in filters for domain in _list(one["domain"]))
        found = next((key for key in sorted(states) if key.startswith(domains)), "sensor.none")
    else:
        found = next(one["id"] for one in devices if any(_is(one, each) for each in filters))
    return [found] if how.get("multiple") else found


def _is(device: dict[str, Any], wanted: dict[str, str]) -> bool:
    ours = any(identifier[0] == wanted["integration"] for identifier in device["identifiers"])
    return ours and wanted.get("model", device["model"]) == device["model"]


def _list(what: Any) -> list[Any]:
    return what if isinstance(what, list) else [what]
