"""What a bridge says of itself, and which ids exist."""

from typing import Literal

from pydantic import Field

from mqtt_bridge.model.base import SCHEMA_VERSION, Model


class Heartbeat(Model):
    """Published at every poll, also at one that failed (`reason` then says why): freshness is computed from it."""

    bridge: str
    instance: str = Field(
        default="", description="the writer's random id: a second writer of a site is told apart by it"
    )
    since: str = Field(default="", description="when that writer started")
    interval_s: float = Field(default=10, description="seconds between polls")
    polled_at: str | None = Field(description="when the last good poll began")
    sent_at: str
    duration_ms: int
    endpoint: str | None
    reason: str | None = None


class Manifest(Model):
    """The ids that exist. A storage is `node/storage`, a shared one `storage` alone, a disk `node/disk`."""

    generation: int
    complete: bool = Field(default=True, description="false: the API hid something, so absence proves nothing")
    nodes: tuple[str, ...] = ()
    guests: tuple[int, ...] = ()
    storages: tuple[str, ...] = ()
    datastores: tuple[str, ...] = ()
    disks: tuple[str, ...] = ()
    zpools: tuple[str, ...] = ()


class MissingPrivilege(Model):
    """A feature that does not work because the token lacks a privilege, with the line that grants it."""

    site: str
    feature: str
    privilege: str
    path: str
    cure: str


class ListenerInfo(Model):
    """One way in: whether it works, and what became of what it brought since the start."""

    status: Literal["starting", "ok", "problem"] = "starting"
    detail: str = Field(default="", description="on what it works in a few words, or what does not work and the cure")
    accepted: int = Field(default=0, description="reports that became events")
    replays: int = Field(default=0, description="reports that were events already: nothing was lost or doubled")
    duplicates: int = Field(default=0, description="of what was told, what only repeated a happening known already")
    filtered: int = Field(default=0, description="accepted, but no event by the filters")
    held: int = Field(default=0, description="held back by the rate limit; a bridge.events.held told of it")
    rejected: dict[str, int] = Field(default_factory=dict, description="refused, by reason")
    last_event_at: str | None = None
    last_problem: str | None = None
    last_problem_at: str | None = None


class HomeAssistantInfo(Model):
    """What Home Assistant was told of, and which entities it was not told of, and why."""

    devices: int = 0
    waiting: int = Field(default=0, description="devices whose configuration is still to be published")
    not_created: tuple[str, ...] = Field(default=(), description="kinds of entity, each with what is missing")


class BridgeInfo(Model):
    """`proxmox/bridge/<bridge>/info`; no secrets."""

    version: str
    schema_version: int = SCHEMA_VERSION
    started_at: str
    bridge: str
    instance: str = Field(description="random at each start: tells two bridges of one name apart")
    sites: tuple[str, ...] = ()
    listeners: dict[str, ListenerInfo] = Field(default_factory=dict)
    notifiers: dict[str, str] = Field(default_factory=dict)
    commands: dict[str, int] = Field(
        default_factory=dict, description="what became of the commands that came in, by outcome; empty: none, or off"
    )
    homeassistant: HomeAssistantInfo | None = Field(default=None, description="null: HA_DISCOVERY is false")
    missing: tuple[MissingPrivilege, ...] = ()
    problems: tuple[str, ...] = ()
    limits: dict[str, int] = Field(default_factory=dict)
