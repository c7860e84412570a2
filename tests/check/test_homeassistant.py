"""`proxmox-mcp check` names what HA_ENTITIES can never mean, and approvers whom no code reaches."""

import pytest

from mqtt_bridge.settings import Settings, load
from proxmox_mcp.check.approving import check_approvals
from proxmox_mcp.check.homeassistant import check_homeassistant

HOST = {
    "PROXMOX_HOST": "192.0.2.1",
    "PROXMOX_USER": "a@pve",
    "PROXMOX_TOKEN_NAME": "t",
    "PROXMOX_TOKEN_VALUE": "12345678-1234-1234-1234-123456789abc",
}


def loaded(**more: str) -> Settings:
    return load({**HOST, **more}, search=False)


async def test_entries_that_fit_nothing_are_notes() -> None:
    (one,) = await check_homeassistant(loaded(HA_ENTITIES="guest/ip,geust/ip,!storage/*"), 1.0)
    assert (one.ok, "geust/ip" in one.detail) == (None, True)
    assert not await check_homeassistant(loaded(HA_ENTITIES="geust/ip", HA_DISCOVERY="false"), 1.0)


@pytest.mark.parametrize(("way", "silent"), [("", True), (";email=alice@example.org", False), (";ntfy=alices", False)])
async def test_an_approver_whom_no_code_reaches_is_named(way: str, *, silent: bool) -> None:
    mail = {"NOTIFY_EMAIL_SERVER": "192.0.2.3", "NOTIFY_EMAIL_FROM": "a@example.org"}
    (one,) = await check_approvals(loaded(APPROVERS=f"alice:sha256:{'ab' * 32}{way}", **mail), 1.0)
    assert (one.detail, "alice" in one.cure) == ("alice", silent)
