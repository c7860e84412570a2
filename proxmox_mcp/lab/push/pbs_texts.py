"""What backup servers write: one function per kind of notification, after the templates of PBS 4."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from . import wording
from .model import Notification, fqdn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Severity

PORT = 8007


@dataclass(frozen=True, slots=True)
class Run:
    """A job that has ended."""

    host: str
    at: int
    store: str
    error: str = ""
    """Empty when all went well."""
    job: str = ""
    """Id of the configured job; a garbage collection has none."""

    def note(self, kind: str, title: str, body: str) -> Notification:
        """Wrap up: where to look for more, the fields, and the severity."""
        where = "pbsServerAdministration:tasks" if self.error else f"DataStore-{self.store}"
        text = f"{body}\n\nPlease visit the web interface for further details:\n\n<{_url(self.host)}#{where}>\n"
        fields = {"type": kind, "hostname": self.host, "datastore": self.store}
        fields |= {"job-id": self.job} if self.job else {}
        severity: Severity = "error" if self.error else "info"
        ending = f"{title} {'failed' if self.error else 'successful'} "
        return Notification(self.host, ending, text, wording.quoted_page(text), severity, self.at, fields)


def _url(host: str) -> str:
    return f"https://{fqdn(host)}:{PORT}/"


def _listed(rows: Sequence[tuple[str, str]], width: int) -> str:
    return "".join(f"{f'{name}:'.ljust(width)}{value}\n" for name, value in rows)


def collection(run: Run, upid: str, status: dict[str, int]) -> Notification:
    """Report a garbage collection; `status` as `/admin/datastore/{store}/gc` has it, unused after a failure."""
    title = f"Garbage Collect Datastore '{run.store}'"
    if run.error:
        return run.note("gc", title, f"Datastore: {run.store}\n\nGarbage collection failed: {run.error}\n")
    logical, disk = status["index-data-bytes"], status["disk-bytes"]
    share = 100 * disk / logical if logical else 0.0
    pending = f"{wording.size(status['pending-bytes'])} (in {status['pending-chunks']} chunks)"
    groups: tuple[tuple[tuple[str, str], ...], ...] = (
        (("Datastore", run.store), ("Task ID", upid), ("Index file count", str(status["index-file-count"]))),
        (
            ("Removed garbage", wording.size(status["removed-bytes"])),
            ("Removed chunks", str(status["removed-chunks"])),
            ("Removed bad chunks", str(status["removed-bad"])),
        ),
        (("Leftover bad chunks", str(status["still-bad"])), ("Pending removals", pending)),
        (
            ("Original Data usage", wording.size(logical)),
            ("On-Disk usage", f"{wording.size(disk)} ({share:.2f}%)"),
            ("On-Disk chunks", str(status["disk-chunks"])),
        ),
        (("Deduplication Factor", f"{logical / disk if disk else 1:.2f}"),),
    )
    return run.note("gc", title, "\n".join(_listed(rows, 22) for rows in groups) + "\nGarbage collection successful.\n")


def prune(run: Run) -> Notification:
    rows = _listed((("Job ID", run.job), ("Datastore", run.store)), 14)
    ending = f"Pruning failed: {run.error}" if run.error else "Pruning successful."
    return run.note("prune", f"Pruning datastore '{run.store}'", f"\n{rows}\n{ending}\n")


def verify(run: Run, failed: Sequence[str]) -> Notification:
    """Report a verification; `failed` names snapshots or groups."""
    rows = _listed((("Job ID", run.job), ("Datastore", run.store)), 11)
    listed = "".join(f"    {one}\n" for one in failed)
    bad = f"Verification failed on these snapshots/groups:\n\n\n{listed}"
    ending = bad if run.error else "Verification successful.\n"
    return run.note("verify", f"Verify Datastore '{run.store}'", f"\n{rows}\n{ending}")


def sync(run: Run, remote: str, source: str) -> Notification:
    """Report a synchronisation from a remote's datastore, or from one of the same server when `remote` is empty."""
    there = (("Remote", remote), ("Remote Store", source)) if remote else (("Local Source Store", source),)
    rows = _listed((("Job ID", run.job), ("Datastore", run.store), *there), 20)
    ending = f"Synchronization failed: {run.error}" if run.error else "Synchronization successful."
    what = f"remote '{remote}'" if remote else "local"
    found = run.note("sync", f"Sync {what} datastore '{source}'", f"{rows}\n{ending}\n")
    return replace(found, title=f"{found.title} ")


def updates(host: str, at: int, packages: Sequence[tuple[str, str, str]]) -> Notification:
    """Tell of packages: name, installed and available version."""
    rows = "".join(f"    {name}: {old} -> {new}\n" for name, old, new in packages)
    text = (
        f"Proxmox Backup Server has the following updates available:\n\n{rows}\nTo upgrade visit the web interface:\n\n"
        f"<{_url(host)}#pbsServerAdministration:updates>\n"
    )
    title, fields = f"New software packages available ({host}) ", {"type": "package-updates", "hostname": host}
    return Notification(host, title, text, wording.quoted_page(text), "info", at, fields)
