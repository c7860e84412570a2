"""What is wrong with a site, from its mirrored states: a table of checks, each with evidence and a remedy.

Pure functions: nothing is asked, nothing waits. A check that lacks what it needs says so (`unknown`), never "all well".
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pydantic import Field

from mqtt_bridge.diagnostics import checks
from mqtt_bridge.diagnostics.disks import disks
from mqtt_bridge.diagnostics.facts import Facts, Found
from mqtt_bridge.model import SEVERITIES, Model, Severity

__all__ = ["CHECKS", "Check", "Facts", "Finding", "diagnose"]


class Finding(Model):
    """One thing that is wrong, or that cannot be told."""

    check: str
    severity: Severity
    site: str
    title: str
    evidence: str = Field(description="what was seen")
    remedy: str = Field(description="what to do")
    unknown: bool = Field(default=False, description="true: the check could not be made, so this is not a fault")


@dataclass(frozen=True)
class Check:
    """One row: what is looked at, and the function that looks."""

    name: str
    asks: str
    run: Callable[[Facts], Iterable[Found]]


def diagnose(facts: Facts) -> list[Finding]:
    """Every check of the table; the worst first."""
    found = [Finding(check=check.name, site=facts.site, **vars(item)) for check in CHECKS for item in check.run(facts)]
    return sorted(found, key=lambda f: (-SEVERITIES.index(f.severity), f.check))


CHECKS: tuple[Check, ...] = (
    Check("freshness", "is the data fresh and complete", checks.freshness),
    Check("quorum", "does the cluster have quorum", checks.quorum),
    Check("nodes", "are all nodes online", checks.nodes),
    Check("ha", "are HA resources in error", checks.ha),
    Check("storage", "is a storage or datastore above 85 or 95 %, or gone", checks.storage),
    Check("disks", "does SMART or ZFS warn of physical disks", disks),
    Check("backup_coverage", "are guests in no backup job", checks.coverage),
    Check("backup_server", "did garbage collection, verification, sync or prune fail", checks.jobs),
    Check("failed_tasks", "which tasks failed in the last day", checks.failed_tasks),
    Check("locks", "are guests locked for hours", checks.locks),
    Check("updates", "are updates pending, do versions differ", checks.updates),
    Check("certificates", "do certificates expire soon", checks.certificates),
)
