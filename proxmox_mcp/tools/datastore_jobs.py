"""Jobs of a Backup Server's datastore, run now: verify, prune, garbage collection, sync."""

from typing import Literal

from pydantic import Field

from mqtt_bridge.targets import DatastoreRef
from proxmox_mcp.tools.base import Call, SiteArgument, Tool
from proxmox_mcp.tools.control import ControlAnswer, Timing, given, perform


class JobOrder(Timing):
    """Which job. Without `job_id` the whole datastore, unless namespace or group are given."""

    datastore: str
    job: Literal["verify", "prune", "gc", "sync"]
    job_id: str | None = Field(default=None, description="a configured job")
    namespace: str | None = None
    group: str | None = Field(default=None, description="e.g. vm/100")
    recursive: bool | None = Field(default=None, description="false: not the namespaces below")
    ignore_verified: bool | None = Field(default=None, description="verify: false checks all again")
    keep_last: int | None = Field(default=None, description="prune without job_id: how many to keep")
    keep_hourly: int | None = None
    keep_daily: int | None = None
    keep_weekly: int | None = None
    keep_monthly: int | None = None
    keep_yearly: int | None = None
    site: SiteArgument = None


async def run_datastore_job(call: Call, args: JobOrder) -> ControlAnswer:
    """What does not belong to the kind of job is refused by its action."""
    ref = DatastoreRef(args.datastore, args.site)
    return await perform(call, f"datastore.{args.job}", ref, args, given(args, "datastore", "job"))


TOOLS = (
    Tool(
        "run_datastore_job",
        "Run a datastore's job",
        "Verify, sync, prune or collect garbage in a Backup Server's datastore; a prune's dry_run lists what goes.",
        "backups",
        JobOrder,
        ControlAnswer,
        run_datastore_job,
        risk="operate",
        destructive=True,
        idempotent=False,
    ),
)
