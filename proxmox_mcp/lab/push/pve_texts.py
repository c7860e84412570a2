"""What PVE hosts write: one function per kind of notification, after the templates of PVE 9."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import wording
from .model import Notification, fqdn
from .wording import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

_VZDUMP = ("VMID", "Name", "Status", "Time", "Size", "Filename")
_UPDATES = ("Package Name", "Installed Version", "Available Version")


@dataclass(frozen=True, slots=True)
class BackupResult:
    """How the backup of one guest ended."""

    vmid: int
    name: str
    seconds: int
    size: int
    filename: str
    """Empty when it failed."""
    log: tuple[str, ...]
    """Its lines, each with its time and `INFO:` or `ERROR:`."""

    @property
    def ok(self) -> bool:
        return bool(self.filename)

    def cells(self, absent: str) -> tuple[str, ...]:
        status = "ok" if self.ok else "err"
        took, big = wording.duration(self.seconds), wording.size(self.size)
        return (str(self.vmid), self.name, status, took, big, self.filename or absent)


@dataclass(slots=True)
class BackupRun:
    """A vzdump job while it goes on."""

    command: str
    job: str = ""
    """Id of the backup job; empty when somebody started it by hand."""
    results: list[BackupResult] = field(default_factory=list)


def backup(node: str, at: int, run: BackupRun, *, error: str = "") -> Notification:
    """Report a vzdump job; `error` is what ended the job as a whole."""
    results = run.results
    failed = bool(error) or not all(one.ok for one in results)
    reason = f": {'multiple problems' if chr(10) in error else error}" if error else ""
    title = f"vzdump backup status ({fqdn(node)}): backup {'failed' if failed else 'successful'}{reason} "
    total = sum(one.seconds for one in results)
    took, big = wording.duration(total + bool(results)), wording.size(sum(one.size for one in results))
    logs = f"{run.command}\n\n" + "".join(
        "\n" + "".join(f"{one.vmid}: {line}\n" for line in one.log) + "\n" for one in results
    )
    many = f"{error}\n" if "\n" in error else ""
    text = (
        f"{many}\nDetails\n=======\n{wording.text_table(_VZDUMP, [one.cells('null') for one in results])}"
        f"\nTotal running time: {took}\nTotal size: {big}\n\nLogs\n====\n{logs}\n"
    )
    html = wording.page(
        f'        \n        <h1 style="font-size: 1.2em">Details</h1>\n'
        f"{wording.html_table(_VZDUMP, [one.cells('') for one in results])}"
        f"        <br/>\n        Total running time: {took}<br/>\n        Total size: {big}<br/>\n"
        f'        <h1 style="font-size: 1.2em">Logs</h1>\n        <pre>{escape(logs)}</pre>\n'
    )
    fields = {"type": "vzdump", "hostname": node} | ({"job-id": run.job} if run.job else {})
    return Notification(node, title, text, html, "error" if failed else "info", at, fields)


def replication(node: str, at: int, job: str, target: str, error: str) -> Notification:
    last, following = wording.moment(at - 1200), wording.moment(at + 300)
    lines = (f"Last successful sync: {last}", f"Next sync try: {following}", "Failure count: 1")
    first = f"Replication job '{job}' with target '{target}' and schedule '*/15' failed!"
    text = f"{first}\n\n" + "\n".join(lines) + f"\n\nError:\n{error}\n\n"
    listed = "".join(f"        {line}<br/>\n" for line in lines)
    html = wording.page(
        f"        {first}<br/><br/>\n\n{listed}\n        <br/>\n        Error:<br/>\n        <pre>\n"
        f"{escape(error)}\n\n        </pre>\n"
    )
    fields = {"type": "replication", "hostname": node, "job-id": job}
    return Notification(node, f"Replication Job: '{job}' failed ", text, html, "error", at, fields)


def updates(node: str, at: int, packages: Sequence[tuple[str, str, str]]) -> Notification:
    """Tell of packages: name, installed and available version."""
    rows = [tuple(one) for one in packages]
    text = f"The following updates are available:\n\n{wording.text_table(_UPDATES, rows)}\n"
    table = wording.html_table(_UPDATES, rows, more="margin-top: 5px;")
    html = wording.page(f"        The following updates are available:\n{table}")
    fields = {"type": "package-updates", "hostname": node}
    return Notification(node, f"New software packages available ({fqdn(node)}) ", text, html, "info", at, fields)


@dataclass(frozen=True, slots=True)
class Fence:
    """A node that is fenced, and how the cluster sees it."""

    cluster: str
    node: str
    master: str
    states: dict[str, str]
    """Node → its state."""
    lost: Sequence[str]
    """HA resources that ran there: `vm:100`."""
    others: Sequence[tuple[str, str, str]]
    """Those elsewhere: id, node, state."""
    done: bool


def fencing(fence: Fence, at: int) -> Notification:
    """Tell, from the master's side, that a node is about to be fenced, or was."""
    node = fence.node
    verb = f"successfully fenced '{node}'." if fence.done else f"will now fence '{node}'."
    subject = f"Successfully fenced node '{node}'" if fence.done else f"Trying to fence node '{node}'"
    status = (
        f"fencing: acknowledged - got agent lock for node '{node}'" if fence.done else f"Try to fence node '{node}'"
    )
    members = [f"{name}: {state} {'[master]' if name == fence.master else ''}" for name, state in fence.states.items()]
    lost = [f"{sid} [{node}]: fence" for sid in fence.lost]
    others = [f"{sid} [{where}]: {state}" for sid, where, state in fence.others]
    when = wording.moment(at)
    text = (
        f"The node '{node}' in cluster '{fence.cluster}' failed\nand needs manual intervention.\n\n"
        f"The PVE HA manager {verb}\nStatus:    {status}\nTimestamp: {when}\n\n"
        f"Cluster Node Status:\n--------------------\n{_bullets(members)}\nHA Resources:\n-------------\n"
        "The following HA resources were running on the failed node and will be\n"
        f"recovered to a healthy node if possible:\n\n{_bullets(lost)}"
        f"The other HA resources in this cluster are:\n\n{_bullets(others)}"
    )
    html = _fencing_page(fence, verb, status, when, (members, lost, others))
    fields = {"type": "fencing", "hostname": node}
    return Notification(fence.master, f"{subject} ", text, html, "error", at, fields)


def _bullets(rows: Sequence[str]) -> str:
    return "".join(f"- {row}\n" for row in rows)


def _items(rows: Sequence[str]) -> str:
    return "".join(f"            <li>{escape(row)}</li>\n" for row in rows)


def _fencing_page(
    fence: Fence, verb: str, status: str, when: str, lists: tuple[Sequence[str], Sequence[str], Sequence[str]]
) -> str:
    members, lost, others = lists
    head = '<h2 style="font-size: 1em">{}</h2>'
    nodes = "".join(f"            <li>\n                {escape(row)}\n            </li>\n" for row in members)
    return wording.page(
        f"        The node '{fence.node}' in cluster '{fence.cluster}' failed and\n"
        f"        needs manual intervention.<br/><br/>\n\n        The PVE HA manager {verb}<br/><br/>\n\n"
        f"        <b>Status:</b> {escape(status)}<br/>\n        <b>Timestamp:</b> {when}<br/>\n\n"
        f"        {head.format('Cluster Node Status:')}\n        <ul>\n{nodes}        </ul>\n\n"
        f"        {head.format('HA Resources:')}\n"
        f"        The following HA resources were running on the failed node and will be\n"
        f"        recovered to a healthy node if possible:\n        <ul>\n{_items(lost)}        </ul>\n"
        f"        The other HA resources in this cluster are:\n        <ul>\n{_items(others)}        </ul>\n"
    )


def test(host: str, at: int, target: str) -> Notification:
    """Both products send the same, without any field."""
    text = f"This is a test of the notification target '{target}'.\n"
    return Notification(host, "Test notification ", text, text, "info", at)


def system_mail(host: str, at: int, subject: str, body: str) -> Notification:
    """Forward a mail to root; nobody knows how severe it is."""
    fields = {"type": "system-mail", "hostname": host}
    return Notification(host, subject, body, "", "unknown", at, fields, forwarded=True)
