"""What is in n8n compared with our workflows, and how the one becomes the other.

What somebody filled into a Config node stays. A workflow is found by its name; n8n gives its own ids.
"""

import copy
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from mqtt_bridge.errors import BridgeError
from proxmox_mcp.setup.n8n_api import Api, N8nError

Raw = dict[str, Any]
CONFIG = "Config"
CALL = "n8n-nodes-base.executeWorkflow"
COMPARED = ("type", "typeVersion", "parameters", "onError", "disabled")
SIGN = {"new": "+", "changed": "~", "same": "="}


@dataclass(frozen=True)
class Workflow:
    """A file of ours."""

    path: Path
    raw: Raw

    @classmethod
    def read(cls, path: Path) -> Self:
        """Raises BridgeError."""
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            return cls(path, {**raw, "nodes": list(raw["nodes"]), "name": str(raw["name"])})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BridgeError(f"{path} is no workflow: {error}", cure="Take the files as they came.") from error

    @property
    def name(self) -> str:
        return str(self.raw["name"])

    @property
    def credentials(self) -> dict[str, str]:
        """Name and type, of nodes that are switched on."""
        nodes = [node for node in self.raw["nodes"] if not node.get("disabled")]
        return {c["name"]: kind for node in nodes for kind, c in node.get("credentials", {}).items()}

    def filled(self, values: Mapping[str, object]) -> Raw:
        """With these values in its Config node, where it has such rows."""
        raw = copy.deepcopy(self.raw)
        for row in rows(raw):
            row["value"] = values.get(row["name"], row["value"])
        return raw


def calling(raw: Raw, ids: Mapping[str, str]) -> Raw:
    """With n8n's own ids of our workflows in the nodes that call one."""
    raw = copy.deepcopy(raw)
    for node in raw["nodes"]:
        if node["type"] == CALL:
            called = node["parameters"]["workflowId"]
            called["value"] = ids.get(called["value"], called["value"])
    return raw


def rows(raw: Raw) -> list[Raw]:
    """Those of the Config node."""
    nodes = [node for node in raw["nodes"] if node["name"] == CONFIG]
    return [row for node in nodes for row in node["parameters"].get("assignments", {}).get("assignments", [])]


@dataclass
class Step:
    """What becomes of one workflow."""

    workflow: Workflow
    wanted: Raw
    there: Raw | None
    lacks: tuple[str, ...] = ()

    @property
    def state(self) -> Literal["new", "changed", "same"]:
        if self.there is None:
            return "new"
        return "changed" if self.differences() else "same"

    def differences(self) -> list[str]:
        """Nodes that come, go or change, and links."""
        here = {node["name"]: _compared(node) for node in self.wanted["nodes"]}
        there = {node["name"]: _compared(node) for node in (self.there or {"nodes": []})["nodes"]}
        found = [f"+ {name}" for name in here if name not in there]
        found += [f"- {name}" for name in there if name not in here]
        found += [f"~ {name}" for name in here if name in there and here[name] != there[name]]
        if self.there is not None and self.there["connections"] != self.wanted["connections"]:
            found.append("~ connections")
        return found

    def told(self) -> Iterator[str]:
        yield f"{SIGN[self.state]} {self.workflow.name} ({self.state})"
        if self.state == "changed":
            yield from (f"    {line}" for line in self.differences())
        yield from (f"    ! needs the credential {name!r}, which is not there" for name in self.lacks)


def _compared(node: Raw) -> Raw:
    """What counts of a node: not where it stands, nor which credential it was given."""
    kept = {key: node.get(key) for key in COMPARED if node.get(key) is not None}
    return {**kept, "disabled": bool(node.get("disabled"))}


@dataclass
class Plan:
    steps: Sequence[Step]
    ids: dict[str, str] = field(default_factory=dict)

    def told(self) -> Iterator[str]:
        for step in self.steps:
            yield from step.told()

    async def apply(self, api: Api) -> AsyncIterator[tuple[bool, str]]:
        """Each workflow, whether it went well, in a line."""
        for step in self.steps:
            try:
                given = await self._put(api, step)
            except N8nError as error:
                yield False, f"{step.workflow.name}: {error}"
                continue
            self.ids[str(step.workflow.raw["id"])] = given
            if step.lacks:
                yield False, f"{step.workflow.name}: imported, not published: {', '.join(step.lacks)} is missing"
                continue
            try:
                await api.ask("POST", f"/workflows/{given}/activate")
            except N8nError as error:
                yield False, f"{step.workflow.name}: imported, not published: {error}"
            else:
                yield True, f"{step.workflow.name}: published"

    async def _put(self, api: Api, step: Step) -> str:
        wanted = calling(step.wanted, self.ids)
        body = {key: wanted[key] for key in ("name", "nodes", "connections")}
        settings = dict(wanted["settings"])
        if (errors := settings.get("errorWorkflow")) in self.ids:
            settings["errorWorkflow"] = self.ids[errors]
        body["settings"] = settings
        if step.there is None:
            return str((await api.ask("POST", "/workflows", body))["id"])
        given = str(step.there["id"])
        if step.state == "changed" or step.there.get("settings", {}).get("errorWorkflow") != settings.get(
            "errorWorkflow"
        ):
            await api.ask("PUT", f"/workflows/{given}", body)
        return given


async def plan(api: Api, ours: Sequence[Workflow], known: Mapping[str, object]) -> Plan:
    """Look at n8n; raises N8nError."""
    present = {one["name"] for one in await api.every("/credentials")}
    listed = {one["name"]: one["id"] for one in await api.every("/workflows")}
    ids = {str(one.raw["id"]): listed[one.name] for one in ours if one.name in listed}
    steps = []
    for one in ours:
        there = await api.ask("GET", f"/workflows/{listed[one.name]}") if one.name in listed else None
        kept = {row["name"]: row["value"] for row in rows(there)} if there else {}
        lacks = tuple(sorted(name for name in one.credentials if name not in present))
        steps.append(Step(one, calling(one.filled({**known, **kept}), ids), there, lacks))
    return Plan(steps)
