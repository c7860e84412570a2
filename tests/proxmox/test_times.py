"""Times of the API that no calendar has."""

import time

import pytest

from mqtt_bridge.model import utc
from mqtt_bridge.proxmox.backup_server import full_at


@pytest.mark.parametrize("seconds", [1e13, -1e13, 1e18, 1e300, float("inf"), float("nan"), "1e14"])
def test_a_time_that_is_none_is_not_known(seconds: float | str) -> None:
    """A Backup Server says so of a datastore that hardly grows; its poll must not end there."""
    assert utc(seconds) is None


def test_when_a_datastore_will_be_full() -> None:
    now = time.time()
    assert full_at(now + 86400, now) == utc(now + 86400)
    for never in (None, 0, now - 86400, -5e9, 1e14):
        assert full_at(never, now) is None, "Proxmox shows a time that has passed as never"
