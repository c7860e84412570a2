"""How far a shutdown has come: what is kept in the journal before each step, and what is published of it."""

import time
import uuid
from pathlib import Path
from typing import Literal

from pydantic import Field

from mqtt_bridge.model import Model, SiteShutdown, utc
from mqtt_bridge.settings import Level
from mqtt_bridge.site_shutdown.plan import NODES, SitePlan
from mqtt_bridge.site_shutdown.wanted import Wanted

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SHOWN = 1000  # VMIDs in the published state

Phase = Literal["running", "aborted", "done", "failed"]


class Stage(Model):
    """Guests that go down together."""

    name: str
    vmids: tuple[int, ...] = ()


class Node(Model):
    """A node, in the order in which they go: see `plan.Rank`."""

    name: str
    rank: int
    own: tuple[int, ...] = ()


class Order(Model):
    """Who asked, and how far that goes."""

    id: str
    principal: str = "mqtt"
    level: Level = "read"
    who: str = ""
    reason: str = ""


class Progress(Model):
    """Times are Unix seconds. `at` is the stage that is under way; behind the last one come the nodes.

    `asking` was perhaps sent, `asked` was. `late` did not go down in time: VMIDs with the node that each was on.
    `silent`: that the last nodes are down is told by their API's silence. `back`: something was started again since.
    """

    id: str
    site: str
    order: Order
    wanted: Wanted
    boot: str = ""
    phase: Phase = "running"
    stages: tuple[Stage, ...] = ()
    nodes: tuple[Node, ...] = ()
    left_out: tuple[str, ...] = ()
    labels: dict[int, str] = Field(default_factory=dict)
    managed: tuple[int, ...] = ()
    started: float
    changed: float
    ended: float | None = None
    at: int = 0
    since: float
    asking: tuple[int, ...] = ()
    asked: tuple[int, ...] = ()
    forced: tuple[int, ...] = ()
    down: tuple[int, ...] = ()
    late: dict[int, str] = Field(default_factory=dict)
    why: dict[int, str] = Field(default_factory=dict)
    nodes_asked: tuple[str, ...] = ()
    nodes_down: tuple[str, ...] = ()
    silent: bool = False
    back: bool = False
    message: str = ""

    def step(self, **fields: object) -> "Progress":
        """One step on."""
        return self.model_copy(update={"changed": time.time(), **fields})

    @property
    def stage(self) -> Stage | None:
        """The one that is under way; None: the nodes are."""
        return self.stages[self.at] if self.at < len(self.stages) else None

    @property
    def vmids(self) -> tuple[int, ...]:
        """All guests that are shut down one by one."""
        return tuple(vmid for stage in self.stages for vmid in stage.vmids)

    @property
    def guests_left(self) -> tuple[int, ...]:
        """Those that are not down."""
        down = set(self.down)
        return tuple(vmid for vmid in self.vmids if vmid not in down)

    @property
    def nodes_left(self) -> tuple[str, ...]:
        """Those that are not down."""
        return tuple(node.name for node in self.nodes if node.name not in self.nodes_down)

    @property
    def remaining(self) -> tuple[int | str, ...]:
        """What is up although it was to go down, nodes first: guests whose nodes went have gone with them."""
        guests = (v for v in self.guests_left if self.late.get(v) not in self.nodes_down)
        return (*self.nodes_left, *guests)

    def label(self, what: int | str) -> str:
        """As people write it."""
        return self.labels.get(what, f"guest {what}") if isinstance(what, int) else f"node {what}"

    def published(self) -> SiteShutdown:
        """What is on MQTT."""
        running = self.phase == "running"
        late = tuple(v for v in self.late if v not in self.down)
        stage = self.stage.name if self.stage else NODES
        return SiteShutdown(
            state=self.phase,
            stage=stage if running else None,
            reason=self.order.reason,
            started_at=utc(self.started),
            ended_at=utc(self.ended),
            message=self.message,
            guests_total=len(self.vmids),
            guests_down=len(self.down),
            guests_left=self.guests_left[:SHOWN],
            nodes_left=self.nodes_left,
            not_down=(late if running or self.phase == "aborted" else self.remaining)[:SHOWN],
            left_out=self.left_out,
            ha_stopped=tuple(v for v in self.managed if v in self.asked)[:SHOWN],
        )


def begin(plan: SitePlan, order: Order, wanted: Wanted) -> Progress:
    """Nothing was done yet."""
    now = time.time()
    return Progress(
        id=str(uuid.uuid4()),
        site=plan.site,
        order=order,
        wanted=wanted,
        boot=boot_id(),
        stages=tuple(Stage(name=name, vmids=tuple(guest.vmid for guest in guests)) for name, guests in plan.stages),
        nodes=tuple(Node(name=s.node, rank=s.rank, own=tuple(g.vmid for g in s.own)) for s in plan.nodes),
        left_out=tuple(f"{one.what}: {one.why}" for one in plan.left_out),
        labels={guest.vmid: guest.label for guest in (*plan.guests, *(g for s in plan.nodes for g in s.own))},
        managed=tuple(sorted(plan.managed)),
        started=now,
        changed=now,
        since=now,
        message=f"It begins: {plan.summary}",
    )


def boot_id(path: Path = BOOT_ID) -> str:
    """This start of this machine; empty where the system does not tell."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
