"""What the jobs of a Backup Server's datastore take, and what they reach."""

import re
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictStr

from mqtt_bridge.actions.row import ActionError, Args, Bool, Int

_ID = r"[A-Za-z0-9_][A-Za-z0-9._-]*"
_GROUP = re.compile(rf"(vm|ct|host)/({_ID})")
_SNAPSHOT = re.compile(rf"(vm|ct|host)/({_ID})/(\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\dZ)")
_NAMESPACE = re.compile(rf"(?:{_ID}/){{0,6}}{_ID}")
KEEP = ("keep_last", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly")


def _fits(pattern: re.Pattern[str], like: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.fullmatch(text):
            raise ValueError(f"it must look like {like}")
        return text

    return AfterValidator(check)


JobId = Annotated[StrictStr, Field(min_length=3, max_length=32), _fits(re.compile(_ID), "v-main")]
Group = Annotated[StrictStr, Field(max_length=128), _fits(_GROUP, "vm/100")]
Namespace = Annotated[StrictStr, Field(max_length=256), _fits(_NAMESPACE, "offsite/2025")]
SnapshotName = Annotated[StrictStr, Field(max_length=192), _fits(_SNAPSHOT, "vm/100/2026-01-31T02:00:00Z")]
Count = Annotated[Int, Field(ge=1, le=100_000)]


class ScopeArgs(Args):
    """What is reached: a configured job's part of the datastore, or a namespace, or one group in it, or all of it."""

    job_id: JobId | None = None
    namespace: Namespace | None = None
    group: Group | None = None
    recursive: Bool | None = None

    def scope(self) -> dict[str, Any]:
        """As the API wants it. Without `recursive: false` namespaces below are reached too."""
        kind, _, ident = (self.group or "").partition("/")
        given: dict[str, Any] = {"ns": self.namespace, "backup-type": kind or None, "backup-id": ident or None}
        if self.recursive is False and not self.group:
            given["max-depth"] = 0
        return {key: value for key, value in given.items() if value is not None}

    def mixed(self) -> ActionError | None:
        """A job says itself what it reaches."""
        others = [name for name in type(self).model_fields if name != "job_id" and getattr(self, name) is not None]
        if self.job_id and others:
            return ActionError(f"With job_id nothing else can be given ({', '.join(others)}).", cure="Leave one out.")
        return None


class VerifyArgs(ScopeArgs):
    """`ignore_verified`: skip what was verified lately (the Backup Server's default)."""

    ignore_verified: Bool | None = None


class PruneArgs(ScopeArgs):
    """How many are kept of the last, of each hour, day, …; without a job at least one must be given."""

    keep_last: Count | None = None
    keep_hourly: Count | None = None
    keep_daily: Count | None = None
    keep_weekly: Count | None = None
    keep_monthly: Count | None = None
    keep_yearly: Count | None = None

    def keep(self) -> dict[str, int]:
        """As the API wants it."""
        given = {name.replace("_", "-"): getattr(self, name) for name in KEEP}
        return {name: value for name, value in given.items() if value is not None}


class SyncArgs(Args):
    """`job_id`: may be left out where the datastore has one sync job only."""

    job_id: JobId | None = None


class ForgetArgs(Args):
    """One backup in the datastore."""

    snapshot: SnapshotName
    namespace: Namespace | None = None
