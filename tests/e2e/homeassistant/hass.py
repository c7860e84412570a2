"""A real Home Assistant with a Mosquitto of its own, by the harness beside this file."""

import asyncio
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

HARNESS = Path(__file__).parent / "harness" / "ha_harness.py"
PATIENCE = 40.0  # seconds
AWAY = "unavailable"


def harness() -> ModuleType:
    """The harness as a module; it is kept nearly as it came, so it is neither linted nor typed."""
    spec = importlib.util.spec_from_file_location("ha_harness", HARNESS)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["ha_harness"] = module
    spec.loader.exec_module(module)
    return module


def missing(module: ModuleType) -> str:
    """Why Home Assistant cannot be run here; empty: it can. Sets it up (once, some minutes)."""
    if chroot := os.environ.get("HA_HARNESS_CHROOT"):
        ready = Path(chroot, "ha", "venv", "bin", "hass").exists()
        return "" if ready else f"{chroot} has no Home Assistant: see `setup --chroot` in the harness."
    base = Path(os.environ.get("HA_HARNESS_BASE", module.DEFAULT_BASE))
    if (base / f"venv-{module.DEFAULT_VERSION}" / "bin" / "hass").exists():
        return ""
    try:
        version = subprocess.run(
            [module.PY313, "-c", "import sys; print(sys.version_info >= (3, 13))"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        version = ""
    if version.strip() != "True":
        return "Home Assistant needs Python 3.13 or newer: install it, or name it in HA_HARNESS_PYTHON."
    subprocess.run([sys.executable, str(HARNESS), "setup", "--base", str(base)], check=True)
    return ""


@dataclass
class Hass:
    """`ha` is the harness's; what blocks is done in a thread."""

    ha: Any

    async def call(self, what: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return await asyncio.to_thread(what, *arguments, **named)

    async def states(self) -> dict[str, dict[str, Any]]:
        """By entity id."""
        found: dict[str, dict[str, Any]] = await self.call(self.ha.get_states)
        return found

    async def ids(self) -> dict[str, str]:
        """Entity ids of what is on, by unique id."""
        return {e["unique_id"]: e["entity_id"] for e in await self.call(self.ha.entities) if not e["disabled_by"]}

    async def devices(self) -> dict[str, dict[str, Any]]:
        """By our id."""
        return {identifier[1]: d for d in await self.call(self.ha.devices) for identifier in d["identifiers"]}

    async def state(self, unique_id: str) -> str:
        """`absent` where there is none."""
        entity = (await self.ids()).get(unique_id, "")
        return str((await self.states()).get(entity, {}).get("state", "absent"))

    async def becomes(self, unique_id: str, *wanted: str, seconds: float = PATIENCE) -> None:
        """Wait for one of these states."""
        await self.until(lambda: self._is(unique_id, wanted), f"{unique_id} is none of {wanted}", seconds)

    async def _is(self, unique_id: str, wanted: Collection[str]) -> bool:
        return await self.state(unique_id) in wanted

    async def away(self, *parts: str) -> set[str]:
        """Unique ids with one of these parts whose entities are unavailable, or have no state."""
        states = await self.states()
        return {
            unique
            for unique, entity in (await self.ids()).items()
            if any(part in unique for part in parts) and states.get(entity, {}).get("state", AWAY) == AWAY
        }

    async def settled(self, count: int, seconds: float = 60) -> None:
        """So many devices, and every entity of them available."""
        await self.until(lambda: self._settled(count), f"not {count} devices, all available", seconds)

    async def _settled(self, count: int) -> bool:
        return len(await self.devices()) == count and bool(await self.ids()) and not await self.away("")

    async def until(self, what: Callable[[], Any], why: str, seconds: float = PATIENCE) -> None:
        """Wait until the coroutine that `what` gives says yes."""
        end = time.monotonic() + seconds
        while not await what():
            assert time.monotonic() < end, why
            await asyncio.sleep(0.3)

    async def press(self, unique_id: str) -> None:
        await self.call(self.ha.call_service, "button", "press", {"entity_id": (await self.ids())[unique_id]})

    async def turn(self, unique_id: str, word: str) -> None:
        await self.call(self.ha.call_service, "switch", f"turn_{word}", {"entity_id": (await self.ids())[unique_id]})

    def forget(self) -> None:
        """What is in the log up to now does not count."""
        self.ha._log_from = Path(self.ha.logfile).stat().st_size

    async def quiet(self) -> None:
        """Nothing of MQTT in Home Assistant's log."""
        said = await self.call(self.ha.log_problems, r"\[homeassistant\.components\.mqtt")
        assert not said, "\n".join(said)
        assert not [one for one in await self.call(self.ha.repairs) if one["domain"] == "mqtt"]
