"""What a lab is made of and how fast it lives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class LabOptions:
    """Size, seed and pace of a simulated datacentre.

    Times are seconds. Tests shorten them; the defaults are what real hosts do, except `auth_delay` (really 3 s).
    """

    nodes: int = 3
    guests: int = 24
    seed: int = 1
    pbs: int = 1
    cluster_name: str = "lab"
    scenario: Literal["random", "recorded"] = "random"
    """`recorded` builds the cluster of the recorded exchanges: pve1, pve2, pve3 never seen, seven guests."""
    ports: tuple[int, ...] = ()
    """Ports of the PVE hosts and then of the PBS hosts; missing or 0: any free one."""
    speed: float = 1.0
    """Divides the duration of every task (about 1-2 s) and of a node's reboot."""
    pvestatd_interval: float = 10.0
    """How often `/cluster/resources` gets new figures and states; 0: at once."""
    rrd_timeout: float = 300.0
    """How long the figures of a lost node's guests and storages are kept."""
    auth_delay: float = 0.3
    """How long a failed login is kept waiting."""
    dead_node_delay: float = 0.8
    """Until a proxied call to a dead node answers 595 No route to host."""
    fresh_death: float = 0.0
    """For so long after its death a node's calls run into `proxy_timeout` and answer 595 Connection timed out."""
    proxy_timeout: float = 30.0
    """Until a proxied call to a hanging node answers 596."""
    hang_timeout: float = 75.0
    """How long `api-hang` keeps a request without an answer before it closes the connection."""
    ha_recovery: float = 120.0
    """After so long the HA manager has fenced a lost node and starts its services elsewhere."""
    notify_timeout: float = 10.0
    """How long a webhook or Gotify server may take to answer."""
    smtp_relay: str = ""
    """`HOST:PORT` on loopback: gets the mails that hosts hand to sendmail. Empty: they go nowhere."""
    syslog: str = ""
    """`HOST:PORT` on loopback, with `/tcp` or `/udp` (default): all hosts' journals are forwarded there."""
    metrics_interval: float = 10.0
    """How often metric servers are pushed to, once there are any."""
    lively: bool = False
    """Now and then a backup runs or a guest restarts by itself (for the demo's live view)."""
    request_log: int = 20_000
    """How many requests `Lab.requests` remembers."""
