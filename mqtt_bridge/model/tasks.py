"""Tasks of Proxmox."""

from typing import Literal

from mqtt_bridge.model.base import Model

TaskStatus = Literal["running", "ok", "warning", "failed"]


class TaskInfo(Model):
    """A task of PVE or PBS."""

    upid: str
    site: str
    node: str
    type: str
    id: str | None = None
    guest: int | None = None
    user: str
    status: TaskStatus
    exitstatus: str | None = None
    started_at: str | None = None
    ended_at: str | None = None


class TaskList(Model):
    """`proxmox/<site>/tasks`: the last 50, newest first."""

    tasks: tuple[TaskInfo, ...] = ()
