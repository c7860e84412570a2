"""What of a node's moving figures is published at once."""

from mqtt_bridge.proxmox.nodes import NodeBook
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import Topics

ROW = {"status": "online", "cpu": 0.1, "mem": 1, "maxmem": 2, "disk": 1, "maxdisk": 2, "uptime": 100}


def test_guests_that_start_are_counted_at_once() -> None:
    """Though neither cpu nor memory has moved."""
    retained = Retained(Topics())
    book = NodeBook("lab", retained, metrics_max_age=300)
    for running in (3, 4):
        book.take("pve1", ROW, {"online": 1}, running=running)
        payload, _ = retained.held["proxmox/lab/node/pve1/metrics"]
        assert f'"guests_running":{running}'.encode() in payload
