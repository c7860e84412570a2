"""Jobs of a Backup Server's datastore, run now: verify, prune, garbage collection, sync."""

from typing import Literal

from pydantic import Field

from mqtt_bridge.targets import DatastoreRef
from proxmox_mcp.tools.base import Call, SiteArgument, Tool
from proxmox_mcp.tools.control import ControlAnswer, Timing, given, perform

Period = Literal["last", "hourly", "daily", "weekly", "monthly", "yearly"]


class JobOrder(Timing):
    """Which job. Without `job_id` the whole datastore, unless namespace or group are given.

    `recursive`: false leaves out the namespaces below. `ignore_verified`: false verifies all again.
    """

    datastore: str
    job: Literal["verify", "prune", "gc", "sync"]
    job_id: str | None = Field(default=None, description="configured job")
    namespace: str | None = None
    group: str | None = Field(default=None, description="e.g. vm/100")
    recursive: bool | None = None
    ignore_verified: bool | None = None
    keep: dict[Period, int] | None = Field(default=None, description='prune without job_id: {"daily": 7, "last": 2}')
    site: SiteArgument = None


async def run_datastore_job(call: Call, args: JobOrder) -> ControlAnswer:
    """What does not belong to the kind of job is refused by its action."""
    ref = DatastoreRef(args.datastore, args.site)
    keep = {f"keep_{period}": count for period, count in (args.keep or {}).items()}
    return await perform(call, f"datastore.{args.job}", ref, args, given(args, "datastore", "job", "keep") | keep)


TOOLS = (
    Tool(
        "run_datastore_job",
        "Run a datastore's job",
        "Run a job in a Backup Server's datastore; a prune's dry_run lists what goes.",
        "backups",
        JobOrder,
        ControlAnswer,
        run_datastore_job,
        risk="operate",
        destructive=True,
        idempotent=False,
    ),
)
