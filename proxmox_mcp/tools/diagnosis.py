"""What is wrong, and what can be reached."""

import asyncio
from collections.abc import Iterable
from typing import Literal

from pydantic import Field

from mqtt_bridge.diagnostics.diagnostics import CHECKS, Facts, Finding, diagnose
from mqtt_bridge.errors import BridgeError, UnknownTargetError
from mqtt_bridge.model import SEVERITIES, Model, Severity, TaskList
from proxmox_mcp.tools import words
from proxmox_mcp.tools.base import Arguments, Call, Tool, fresh
from proxmox_mcp.view import Answer, View

DEADLINE = 10.0  # seconds for each host that is asked


class DiagnosticScope(Arguments):
    """Which sites, and which checks."""

    site: str | None = Field(default=None, description="only this site")
    checks: tuple[str, ...] | None = Field(
        default=None, description=f"only these checks: {', '.join(check.name for check in CHECKS)}"
    )
    min_severity: Severity = Field(default="info", description="only findings at least so severe")


class Diagnosis(Answer):
    """What was found, the worst first."""

    verdict: Literal["ok", "info", "warning", "error", "critical"] = Field(
        description="the worst severity found; ok: every check was made and none found anything"
    )
    checked: tuple[str, ...] = ()
    could_not_check: int = Field(default=0, description="findings that only say that something could not be told")
    findings: tuple[Finding, ...] = ()
    left_out: int = Field(default=0, description="findings below `min_severity`; they count for the verdict")

    def text(self) -> str:
        lines = [f"{f.severity} | {f.check} | {f.site} | {f.title}. {f.evidence} -> {f.remedy}" for f in self.findings]
        head = f"Verdict: {self.verdict}; {len(self.findings)} findings of {len(self.checked)} checks"
        if self.left_out:
            head += f" ({self.left_out} below min_severity left out)"
        return words.answer(head, "\n".join(lines), self)


async def run_diagnostic(call: Call, args: DiagnosticScope) -> Diagnosis:
    """Run the table of checks."""
    names = {check.name for check in CHECKS}
    if unknown := sorted(set(args.checks or ()) - names):
        raise UnknownTargetError(f"There is no check {unknown[0]!r}.", cure=f"Checks: {', '.join(sorted(names))}.")
    view = await call.view()
    sites = view.sites(args.site)
    wanted = set(args.checks) if args.checks else names
    least = SEVERITIES.index(args.min_severity)
    found = [f for site in sites for f in diagnose(facts(view, site, call.services.clock())) if f.check in wanted]
    found.sort(key=lambda f: -SEVERITIES.index(f.severity))
    shown = tuple(f for f in found if SEVERITIES.index(f.severity) >= least)
    return Diagnosis(
        **fresh(view, sites),
        verdict=found[0].severity if found else "ok",
        checked=tuple(check.name for check in CHECKS if check.name in wanted),
        could_not_check=sum(f.unknown for f in found),
        findings=shown,
        left_out=len(found) - len(shown),
    )


def facts(view: View, site: str, now: float) -> Facts:
    """A site of the mirror as the checks want it."""
    seen = view.freshness([site])
    return Facts(
        site=site,
        now=now,
        cluster=view.cluster(site),
        nodes=tuple(n.state for n in view.nodes(site)),
        guests=tuple(g.state for g in view.guests(site)),
        storages=tuple(view.storages(site)),
        datastores=tuple(view.datastores(site)),
        disks=tuple(view.disks(site)),
        zpools=tuple(view.zpools(site)),
        tasks=tuple(view.tasks(site)) if isinstance(view.store.get(site, "tasks"), TaskList) else None,
        lock_seen={vmid: at for (where, vmid), (_, at) in view.store.locked_since.items() if where == site},
        stale=seen.stale,
        complete=seen.complete,
        freshness=" ".join(seen.notes),
    )


# --- connectivity ----------------------------------------------------------------------------------------------------


class ConnectivityScope(Arguments):
    """Which sites."""

    site: str | None = Field(default=None, description="only this site")


class HostResult(Model):
    """One API host, asked just now."""

    site: str
    host: str = Field(description="its name in the settings")
    url: str
    ok: bool
    latency_ms: float | None = None
    version: str | None = None
    breaker: str = Field(description="closed: in use; open: given up for a while; half-open: being tried again")
    error: str | None = None


class BrokerResult(Model):
    """The MQTT broker, as this process sees it."""

    configured: bool
    connected: bool
    complete: bool = Field(description="the mirror of its topics is complete")
    bridges_online: tuple[str, ...] = ()
    error: str | None = None


class Connectivity(Answer):
    """What can be reached now."""

    ok: bool = Field(description="every host that was asked answered, and the broker (if there is one) is connected")
    hosts: tuple[HostResult, ...] = ()
    broker: BrokerResult

    def text(self) -> str:
        rows = (
            (h.site, h.host, h.url, "ok" if h.ok else "FAILED", h.latency_ms, h.version, h.error) for h in self.hosts
        )
        body = words.table(("site", "host", "url", "result", "ms", "version", "error"), rows)
        b = self.broker
        broker = "none configured" if not b.configured else "connected" if b.connected else f"not connected: {b.error}"
        online = f"; bridges online: {', '.join(b.bridges_online)}" if b.bridges_online else ""
        return "\n".join(
            [f"Hosts that were asked: {len(self.hosts)}", body, f"MQTT broker: {broker}{online}", *self.notes]
        )


async def test_connectivity(call: Call, args: ConnectivityScope) -> Connectivity:
    """Ask each host for its version now, and look at the broker."""
    clients = call.services.clients
    sites = [args.site] if args.site else list(clients)
    asked = [_ask(call, site, name, url) for site in sites for name, url in _hosts(call, site)]
    results = tuple(await asyncio.gather(*asked))
    broker = _broker(call)
    notes = () if results else ("No API host is configured here, so none was asked.",)
    return Connectivity(
        ok=bool(results) and all(r.ok for r in results) and (broker.connected or not broker.configured),
        hosts=results,
        broker=broker,
        source="api",
        age_s=0,
        notes=notes,
    )


def _hosts(call: Call, site: str) -> Iterable[tuple[str, str]]:
    return [(host.name, host.url) for host in call.client(site).hosts]


async def _ask(call: Call, site: str, name: str, url: str) -> HostResult:
    client, loop = call.client(site), asyncio.get_running_loop()
    began, version, error = loop.time(), None, None
    try:
        answer = await client.request("GET", "version", host=name, deadline=DEADLINE)
        version = str(answer.get("version")) if isinstance(answer, dict) else None
    except BridgeError as failure:
        error = str(failure)
    took = round(1000 * (loop.time() - began), 1)
    breaker = next((host.state for host in client.hosts if host.name == name), "closed")
    return HostResult(
        site=site,
        host=name,
        url=url,
        ok=error is None,
        latency_ms=took if error is None else None,
        version=version,
        breaker=breaker,
        error=error,
    )


def _broker(call: Call) -> BrokerResult:
    mirror = call.services.state.primary
    if mirror is None:
        return BrokerResult(configured=False, connected=False, complete=False)
    online = [name for name, value in mirror.store.items("", "bridge_state") if value == "online"]
    return BrokerResult(
        configured=True,
        connected=mirror.connected,
        complete=mirror.complete,
        bridges_online=tuple(online),
        error=mirror.trouble,
    )


TOOLS = (
    Tool(
        "run_diagnostic",
        "Diagnose",
        "Check quorum, nodes, HA, storage above 85 and 95 %, backup coverage, Backup Server jobs, failed tasks of the "
        "last day, long locks, updates, certificates and the freshness of the data; each finding has evidence and a "
        "remedy. What could not be told is reported as unknown.",
        "core",
        DiagnosticScope,
        Diagnosis,
        run_diagnostic,
    ),
    Tool(
        "test_connectivity",
        "Test connectivity",
        "Ask every configured API host for its version now and look at the MQTT broker: what answers, how fast, and "
        "why not.",
        "core",
        ConnectivityScope,
        Connectivity,
        test_connectivity,
    ),
)
