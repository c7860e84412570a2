"""`…/upkeep` of sites and nodes."""

import asyncio
import time
from dataclasses import dataclass, field
from pathlib import Path

from mqtt_bridge.homeassistant.upkeep import Upkeep
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import NodeUpkeep, SiteUpkeep
from mqtt_bridge.notifying.maintenance import Maintenance, about
from mqtt_bridge.proxmox.task_book import TaskBook
from mqtt_bridge.retained import Retained
from mqtt_bridge.topics import Topics
from tests.homeassistant.things import cluster, node
from tests.support.processes import until


@dataclass
class Site:
    """As much of an inventory as matters."""

    tasks: TaskBook


@dataclass
class Stage:
    retained: Retained = field(default_factory=lambda: Retained(Topics()))

    def site(self) -> SiteUpkeep:
        return SiteUpkeep.model_validate_json(self.retained.held["proxmox/lab/upkeep"][0])

    def node(self, name: str = "pve1") -> NodeUpkeep:
        return NodeUpkeep.model_validate_json(self.retained.held[f"proxmox/lab/node/{name}/upkeep"][0])


def failed(ago: float, node: str = "pve1") -> dict[str, object]:
    at = int(time.time() - ago)
    return {
        "upid": f"UPID:{node}:0000{at % 9999:04X}:0001A2B3:{at:08X}:qmstart:100:root@pam:",
        "node": node, "type": "qmstart", "id": "100", "user": "root@pam", "starttime": at, "endtime": at,
        "status": "no memory",
    }  # fmt: skip


async def test_what_appears_late_is_never_said_to_be_out_of_maintenance(tmp_path: Path) -> None:
    """An API that is down when we start: its switch must not go off for a moment when it is back."""
    stage = Stage()

    async def nobody() -> list[object]:
        return []

    async with Journal(tmp_path / "journal.db") as journal:
        maintenance = Maintenance(journal, tells=False)
        await maintenance.begin(about("site", "lab"), "1h")
        await maintenance.begin(about("node", "lab", "pve1"), "1h")
        upkeep = Upkeep(stage.retained, maintenance.active, nobody, {"lab": Site(TaskBook("lab", stage.retained))})  # type: ignore[arg-type]
        await upkeep._look()
        stage.retained.watch(upkeep.changed)
        stage.retained.put("cluster", cluster().state, site="lab")
        stage.retained.put("node", node().state, site="lab", node="pve1")
        assert stage.site().maintenance
        assert stage.node().maintenance
        assert stage.node().failed_tasks is None, "that is counted at the next look"


async def test_maintenance_failed_tasks_and_nodes_that_leave(tmp_path: Path) -> None:
    stage = Stage()
    book = TaskBook("lab", stage.retained)

    async def nobody() -> list[object]:
        return []

    async with Journal(tmp_path / "journal.db") as journal:
        maintenance = Maintenance(journal, tells=False)
        upkeep = Upkeep(stage.retained, maintenance.active, nobody, {"lab": Site(book)})  # type: ignore[arg-type]
        stage.retained.watch(upkeep.changed)
        stage.retained.put("cluster", cluster().state, site="lab")
        stage.retained.put("node", node().state, site="lab", node="pve1")
        assert stage.node() == NodeUpkeep(), "there as soon as the node is"
        assert stage.site() == SiteUpkeep()
        work = asyncio.create_task(upkeep.run())
        book.take([])
        await until(lambda: stage.node().failed_tasks == 0)
        book.take([failed(60), failed(90_000), failed(30, "pve2")])
        await maintenance.begin(about("node", "lab", "PVE1"), "1h")
        await until(lambda: stage.node().maintenance)
        await until(lambda: stage.node().failed_tasks == 1)
        assert stage.node().last_failure == "qmstart 100: no memory"
        assert stage.node().maintenance_until
        assert not stage.site().maintenance
        await maintenance.begin(about("site", "lab"), "1h")
        await maintenance.end(about("node", "lab", "pve1"))
        await until(lambda: stage.site().maintenance and not stage.node().maintenance)
        stage.retained.drop("node", site="lab", node="pve1")
        assert "proxmox/lab/node/pve1/upkeep" not in stage.retained.held
        work.cancel()
        await asyncio.wait([work])
