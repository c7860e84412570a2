"""Sentences of section 10 of the design that no other test would miss; docs/security.md has the table of all."""

import ast
import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import mqtt_bridge
from mqtt_bridge.actions import ACTIONS, ActionError
from mqtt_bridge.actions.row import revealed
from mqtt_bridge.approvals import Approvals, Decider
from mqtt_bridge.errors import BridgeError
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef, NodeRef, Ref, StorageRef
from tests.approvals.making import AGENT, SETTINGS
from tests.control.samples import ORDERS, SAMPLES, planned
from tests.control.world import world
from tests.policy.bench import ROOT, STOPPED_VM, VM, Bench, opened

SOURCE = Path(mqtt_bridge.__file__).parent
MQTT = {"broker", "bus", "retained", "world", "topics", "loopback", "catching_up", "broker_link", "broker_batch"}
HIDDEN = "kept-4711-quiet"
HOSTS = frozenset({"cloud.debian.org"})
TAR = "local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst"


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "state") as ready:
        yield ready


# --- policy ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("action", "number"), ORDERS)
def test_no_action_takes_off_what_protects_a_guest(action: str, number: int) -> None:
    """Neither its tags, its pool nor its flag: tags are written by `guest.update` alone, which keeps the protected."""
    sample = SAMPLES[action][number]
    plan = asyncio.run(planned(world().clients(sample.overlay), action, sample))
    for step in plan.steps:
        params = revealed(step.params)
        removed = str(params.get("delete", "")).split(",")
        assert "protection" not in removed
        assert "tags" not in removed or action == "guest.update"
        assert str(params.get("protection", 1)) == "1"
        assert step.segments[0] != "pools"
        new = action in {"vm.create", "lxc.create", "guest.clone", "backup.restore"}
        assert new or "pool" not in params
        assert new or action == "guest.update" or "tags" not in params


def test_protection_is_put_on_by_an_action_never_taken_off() -> None:
    assert ACTIONS["guest.update"].arguments({"protection": True})
    with pytest.raises(ActionError, match="protection"):
        ACTIONS["guest.update"].arguments({"protection": False})


def test_actions_are_judged_without_a_way_to_mqtt() -> None:
    """What is on the broker can be forged by whoever may write there: nothing that decides can even read it."""
    files = [*(SOURCE / "actions").glob("*.py"), SOURCE / "policy.py", SOURCE / "targets.py"]
    files += [SOURCE / "proxmox" / f"{name}.py" for name in ("lookup", "own_guests", "client")]
    assert len(files) > 20
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mqtt_bridge"):
                parts = (node.module or "").split(".")
                names = {parts[1]} if len(parts) > 1 else {alias.name for alias in node.names}
                assert not names & MQTT, (file.name, names)


# --- secrets ---------------------------------------------------------------------------------------------------------

SECRETIVE: tuple[tuple[str, Ref, dict[str, Any]], ...] = (
    ("guest.cloudinit", GuestRef(STOPPED_VM), {"user": "bob", "password": HIDDEN, "storage": "local-lvm"}),
    ("lxc.create", NodeRef("pve1"), {"template": TAR, "password": HIDDEN, "storage": "local-lvm"}),
    ("guest.exec", GuestRef(VM), {"argv": ["mysql", "-p", HIDDEN]}),
    ("guest.exec", GuestRef(VM), {"argv": ["true"], "input_data": HIDDEN}),
    (
        "image.download",
        StorageRef("nas"),
        {
            "url": f"https://me:{HIDDEN}@cloud.debian.org/x.iso?signature={HIDDEN}",
            "checksum": "a" * 64,
            "content": "iso",
        },
    ),
)


@pytest.mark.parametrize(("action", "target", "args"), SECRETIVE)
async def test_what_is_secret_is_in_no_dry_run_approval_record_error_or_log(
    bench: Bench, caplog: pytest.LogCaptureFixture, action: str, target: Ref, args: dict[str, Any]
) -> None:
    caplog.set_level(logging.DEBUG)
    every = PermissionSettings(
        mcp_allow="exec",
        approval_required=frozenset({"operate", "change", "destroy", "exec"}),
        image_url_allowlist=HOSTS,
    )
    said: list[str] = []
    async with Approvals(bench.folder, SETTINGS) as approvals:
        actions = bench.actions(every, approvals=approvals)
        said.append(str(await actions.perform(ROOT, action, target, args=args, dry_run=True)))
        asked = await actions.perform(AGENT, action, target, args=args, timeout=60)
        assert asked.approval is not None
        said.append(str(asked))
        said.append(str(await approvals.get(asked.approval.id)))
        await approvals.decide(asked.approval.id, "approve", Decider("alice", "secret"))
        try:
            said.append(
                str(await actions.perform(AGENT, action, target, args=args, approval=asked.approval.id, timeout=60))
            )
        except BridgeError as error:
            said += [str(error), repr(error), repr(error.__cause__)]
    said += [json.dumps(bench.records), caplog.text]
    assert bench.writes, "it was not even sent"
    assert [text for text in said if HIDDEN in text] == []


def test_arguments_that_hold_secrets_hide_them_by_their_type() -> None:
    row = ACTIONS["guest.cloudinit"]
    parsed = row.arguments({"user": "bob", "password": HIDDEN, "storage": "local-lvm"})
    assert HIDDEN not in repr(parsed)
    assert HIDDEN not in str(parsed.params())
    with pytest.raises(ActionError) as caught:
        row.arguments({"user": "bob", "password": [HIDDEN]})
    assert HIDDEN not in str(caught.value)
