"""What people are told of a site that goes down, and what they are not."""

import pytest

from mqtt_bridge.notifying.deciding import Decider
from mqtt_bridge.notifying.silences import REBOOT
from mqtt_bridge.settings import load
from tests.notify.making import Desk, desk

HOST = {
    "PROXMOX_HOST": "192.0.2.1",
    "PROXMOX_USER": "a@pve",
    "PROXMOX_TOKEN_NAME": "t",
    "PROXMOX_TOKEN_VALUE": "5f0c9a7e-1b2c-4d3e-8f90-a1b2c3d4e5f6",
}


def _apart() -> Desk:
    """Notifiers in a process of their own, which learn of it by its events alone."""
    it = desk(debounce=0)
    it.decider = Decider(it.settings, it.names, follows=True)
    return it


def _goes(it: Desk) -> None:
    it.on("site.shutdown.started", node=None, same="run")
    for kind in ("quorum.lost", "site.offline"):
        it.on(kind, node=None)
    for node in ("pve1", "pve2"):
        it.on("node.offline", node=node)
    it.on("storage.offline", metadata={"storage": "nfs"})


def test_one_incident_and_silence_until_the_site_is_back() -> None:
    it = _apart()
    _goes(it)
    it.later(60, 10)
    it.on("site.shutdown.done", node=None, same="run")
    assert it.words() == [("event", "site.shutdown.started None"), ("recovery", "site.shutdown.done None")]
    it.later(3 * 3600, 60)
    assert it.words() == [], "it is away, as it should be"
    it.on("site.online", node=None)
    it.on("node.online", node="pve1")
    it.later(REBOOT - 60, 60)
    assert it.words() == []
    it.later(120, 10)
    (still,) = it.sent()
    assert still.kind == "digest"
    assert "pve2" in still.text, "what does not come back is told"


def test_what_stayed_up_is_told_at_once_and_the_rest_a_moment_later() -> None:
    it = _apart()
    _goes(it)
    it.on("site.shutdown.failed", node=None, same="run")
    assert [title for _, title in it.words()] == ["site.shutdown.started None", "site.shutdown.failed None"]
    it.later(90, 10)
    (still,) = it.sent()
    assert "node.offline" in still.text


@pytest.mark.parametrize(("level", "idle"), [("destroy", False), ("exec", False), ("change", True), ("", True)])
def test_a_setting_that_does_nothing_is_said(level: str, *, idle: bool) -> None:
    found = load({**HOST, "SITE_SHUTDOWN": "true", "MQTT_ALLOW": level}, search=False)
    assert any("SITE_SHUTDOWN" in warning for warning in found.warnings) is idle
    assert found.permission.site_shutdown


@pytest.mark.parametrize(("level", "idle"), [("change", False), ("exec", False), ("operate", True), ("", True)])
def test_so_is_an_evacuation_that_may_migrate_nothing(level: str, *, idle: bool) -> None:
    found = load({**HOST, "MAINTENANCE_EVACUATE": "true", "MQTT_ALLOW": level}, search=False)
    assert any("MAINTENANCE_EVACUATE" in warning for warning in found.warnings) is idle
