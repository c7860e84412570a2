"""Looks are more frequent here than where a battery sets the pace."""

import pytest


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.site_shutdown.nodes.SILENT", 2.0)
    monkeypatch.setattr("mqtt_bridge.site_shutdown.nodes.SURE", 0.5)
    for part in ("guests", "nodes"):
        monkeypatch.setattr(f"mqtt_bridge.site_shutdown.{part}.PACE", 0.2)
