"""The settings that make `proxmox-mcp serve` work against a lab."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lab import Lab
    from .server import Host


def describe(lab: Lab) -> dict[str, str]:
    """A lab of one node is a standalone host; every other one is a cluster."""
    if lab.world.standalone:
        found = {"LAB_CONFIGURATION": "STANDALONE", "PVE_NODES": ",".join(lab.hosts)}
        for host in lab.hosts.values():
            found |= _host(lab, host, lab.token_name, lab.token_value)
    else:
        found = _cluster(lab)
    if lab.pbs_hosts:
        found["PBS_NODES"] = ",".join(lab.pbs_hosts)
    for host in lab.pbs_hosts.values():
        found |= _host(lab, host, lab.pbs_token_name, lab.pbs_token_value)
    return found | {"PROXMOX_LAB_CONTROL": lab.control_url}


def _cluster(lab: Lab) -> dict[str, str]:
    first, *others = lab.hosts.values()
    found = {
        "LAB_CONFIGURATION": "MIXED" if lab.pbs_hosts else "CLUSTERED",
        "PVE_CLUSTER_NAME": lab.world.cluster_name,
        "PVE_CLUSTER_PRIMARY_HOST": f"127.0.0.1:{first.port}",
        "PVE_CLUSTER_PRIMARY_USER": lab.user,
        "PVE_CLUSTER_PRIMARY_TOKEN_NAME": lab.token_name,
        "PVE_CLUSTER_PRIMARY_TOKEN_VALUE": lab.token_value,
        "PVE_CLUSTER_PRIMARY_FINGERPRINT": lab.fingerprint,
    }
    if others:
        found["PVE_CLUSTER_SUBNODES"] = ",".join(host.name for host in others)
    for host in others:
        found[f"{host.name.upper()}_HOST"] = f"127.0.0.1:{host.port}"
        found[f"{host.name.upper()}_FINGERPRINT"] = lab.fingerprint
    return found


def _host(lab: Lab, host: Host, token_name: str, token_value: str) -> dict[str, str]:
    key = host.name.upper()
    return {
        f"{key}_HOST": f"127.0.0.1:{host.port}",
        f"{key}_USER": lab.user,
        f"{key}_TOKEN_NAME": token_name,
        f"{key}_TOKEN_VALUE": token_value,
        f"{key}_FINGERPRINT": lab.fingerprint,
    }
