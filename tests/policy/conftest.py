"""Nobody waits half a second between two looks at a state."""

import pytest

from mqtt_bridge.actions import power


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "PACE", 0.02)
