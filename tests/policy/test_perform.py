"""What can go wrong around an action that Proxmox accepted, on an API that answers as told."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.actions import ActionResult, Actions, After, power
from mqtt_bridge.audit.events import reports_of
from mqtt_bridge.audit.trail import Audit, AuditError
from mqtt_bridge.errors import BrokerUnreachableError, ProtocolError, RejectedError, UnreachableError
from mqtt_bridge.policy import Principal
from mqtt_bridge.proxmox.translate import MAYBE_DONE
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef, NodeRef
from mqtt_bridge.whoami import Identity
from tests.policy.recorder import FakeGuest, Recorder

ROOT = Principal("tester", "stdio", "exec")
OPEN = PermissionSettings(mcp_allow="exec", approval_required=frozenset())


@pytest.fixture
def api() -> Recorder:
    return Recorder([FakeGuest(100)])


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "SETTLE", 0.05)
    monkeypatch.setattr(power, "RESTART_SETTLE", 0.05)


async def perform(api: Recorder, folder: Path, action: str = "guest.stop", **more: Any) -> ActionResult:
    after: After | None = more.pop("after", None)
    actions = Actions({"lab": api}, OPEN, more.pop("audit", Audit(folder)), after=after, me=Identity())
    ref = NodeRef("pve1") if action.startswith("node.") else GuestRef(100)
    return await actions.perform(ROOT, action, ref, **({"timeout": 0.2} | more))


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "audit.jsonl").read_bytes().splitlines()]


async def test_an_answer_without_a_task_is_not_taken_for_one(api: Recorder, tmp_path: Path) -> None:
    api.answer = None
    with pytest.raises(ProtocolError, match="without a task"):
        await perform(api, tmp_path)
    assert [r.get("result") for r in records(tmp_path)] == [None, "error"]


@pytest.mark.parametrize("error", [RejectedError("VM is locked (backup)", status=500), UnreachableError("gone")])
async def test_a_call_that_fails_is_an_error_and_a_record(
    api: Recorder, tmp_path: Path, error: RejectedError | UnreachableError
) -> None:
    api.answer = error
    with pytest.raises(type(error)):
        await perform(api, tmp_path)
    assert records(tmp_path)[1]["answer"] == error.message


async def test_a_task_that_cannot_be_followed_is_not_forgotten(api: Recorder, tmp_path: Path) -> None:
    api.task_error = UnreachableError("Nobody answers.")
    result = await perform(api, tmp_path)
    assert (result.ok, result.status, result.upid) == (False, "started", api.answer)
    assert "Nobody answers" in result.message


async def test_a_state_that_cannot_be_read_afterwards_is_not_a_success(api: Recorder, tmp_path: Path) -> None:
    class DeafAfterwards(Recorder):
        async def post(self, *segments: str | int, **params: Any) -> Any:
            self.error = UnreachableError("pve1 is gone.")
            return await super().post(*segments, **params)

    result = await perform(DeafAfterwards(api.guests), tmp_path)
    assert (result.ok, result.status, result.exitstatus, result.state_after) == (False, "failed", "OK", None)
    assert "could not be read: pve1 is gone." in result.message


async def test_a_state_that_does_not_follow_is_not_a_success(api: Recorder, tmp_path: Path) -> None:
    result = await perform(api, tmp_path)
    assert (result.ok, result.changed, result.state_after) == (False, False, "running")
    assert "it is running and not stopped or suspended" in result.message


async def test_a_reboot_whose_guest_went_on_running_is_not_a_success(api: Recorder, tmp_path: Path) -> None:
    result = await perform(api, tmp_path, "guest.reboot")
    assert (result.ok, result.changed) == (False, False)
    assert "has not started anew" in result.message


async def test_a_guest_that_ha_started_elsewhere_is_found_there(api: Recorder, tmp_path: Path) -> None:
    class Moving(Recorder):
        async def post(self, *segments: str | int, **params: Any) -> Any:
            self.guests[0].node, self.guests[0].status = "pve2", "running"
            return await super().post(*segments, **params)

    moving = Moving([FakeGuest(100, status="stopped", current={"ha": {"managed": 1}})])
    result = await perform(moving, tmp_path, "guest.start")
    assert (result.ok, result.state_after) == (True, "running")


async def test_a_task_s_warnings_are_told(api: Recorder, tmp_path: Path) -> None:
    api.outcome = {"warnings": 2, "exitstatus": "WARNINGS: 2"}
    result = await perform(api, tmp_path, "guest.reset")
    assert result.ok
    assert result.exitstatus == "WARNINGS: 2"
    assert "2 warnings" in result.hint


async def test_a_log_is_scrubbed_cut_and_shortened(api: Recorder, tmp_path: Path) -> None:
    lines = [*(f"line {n}" for n in range(30)), "\x1b[31mpassword=hunter2\u202e", "x" * 5000]
    api.outcome = {"ok": False, "exitstatus": "mount failed: password=hunter2", "log_tail": tuple(lines)}
    result = await perform(api, tmp_path)
    assert "hunter2" not in result.model_dump_json()
    assert "hunter2" not in (tmp_path / "audit.jsonl").read_text()
    assert len(result.log_tail) == 20
    assert max(map(len, result.log_tail)) == 500
    assert not any(c in line for line in result.log_tail for c in "\x1b\u202e")


async def test_a_bridge_that_cannot_publish_at_once_does_not_spoil_the_action(
    api: Recorder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def after(site: str, what: int | str) -> None:
        raise BrokerUnreachableError("no broker")

    with caplog.at_level(logging.WARNING):
        result = await perform(api, tmp_path, "guest.reset", after=after)
    assert result.ok
    assert "no broker" in caplog.text


class FailsAfter(Audit):
    """A disk that fills up between the intent and the outcome."""

    async def write(self, event: str, **fields: Any) -> None:
        if event.endswith("outcome"):
            raise AuditError("The audit file cannot be written: No space left on device.")
        await super().write(event, **fields)


async def test_an_outcome_that_cannot_be_recorded_is_told(
    api: Recorder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = await perform(api, tmp_path, "guest.reset", audit=FailsAfter(tmp_path))
    assert result.ok
    assert "No space left" in result.hint
    assert "No space left" in caplog.text
    api.answer = RejectedError("refused", status=500)
    with pytest.raises(RejectedError):
        await perform(api, tmp_path, "guest.reset", audit=FailsAfter(tmp_path))
    assert "refused" in caplog.text


async def test_cancelled_while_it_waits(api: Recorder, tmp_path: Path) -> None:
    class Slow(Recorder):
        async def wait_task(self, *_: Any, **__: Any) -> Any:
            await asyncio.sleep(30)

    slow = Slow(api.guests)
    task = asyncio.create_task(perform(slow, tmp_path))
    while not slow.writes:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [r["event"] for r in records(tmp_path)] == ["action.intent", "action.outcome"]
    end = records(tmp_path)[-1]
    assert (end["result"], end["ok"], end["upid"]) == ("started", None, slow.answer)
    assert "its task goes on" in end["answer"]
    (told,) = reports_of((tmp_path / "audit.jsonl").read_bytes().splitlines()[-1])
    assert (told.verdict.kind, told.verdict.ok) == ("audit.action.started", None)


async def test_no_answer_to_what_was_sent_is_no_failure(api: Recorder, tmp_path: Path) -> None:
    api.answer = UnreachableError("pve1 did not answer in time.", cure=MAYBE_DONE)
    with pytest.raises(UnreachableError):
        await perform(api, tmp_path)
    end = records(tmp_path)[-1]
    assert (end["result"], end["ok"], "may have been carried out" in end["answer"]) == ("unknown", None, True)


async def test_cancelled_while_it_is_sent(api: Recorder, tmp_path: Path) -> None:
    """Nobody knows whether Proxmox has it: that is no failure, and no success."""

    class Hangs(Recorder):
        async def post(self, *_: Any, **__: Any) -> Any:
            self.writes.append((("POST",), {}))
            await asyncio.sleep(30)

    hangs = Hangs(api.guests)
    task = asyncio.create_task(perform(hangs, tmp_path))
    while not hangs.writes:
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    end = records(tmp_path)[-1]
    assert (end["result"], end["ok"], "may have been sent" in end["answer"]) == ("unknown", None, True)
    (told,) = reports_of((tmp_path / "audit.jsonl").read_bytes().splitlines()[-1])
    assert (told.verdict.kind, told.verdict.ok) == ("audit.action.started", None)


@pytest.mark.parametrize(("action", "online"), [("node.startall", True), ("node.stopall", True)])
async def test_bulk_actions_without_a_guest_are_not_sent(tmp_path: Path, action: str, online: bool) -> None:
    api = Recorder([FakeGuest(100, node="pve2")], nodes={"pve1": online, "pve2": True})
    result = await perform(api, tmp_path, action)
    assert (result.ok, result.changed) == (True, False)
    assert api.writes == []


async def test_constructing_reads_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, api: Recorder) -> None:
    read: list[int] = []

    def identity() -> Identity:
        read.append(1)
        return Identity()

    monkeypatch.setattr("mqtt_bridge.actions.perform.read_identity", identity)
    actions = Actions({"lab": api}, OPEN, Audit(tmp_path / "state"))
    assert not read
    assert not (tmp_path / "state").exists()
    await actions.perform(ROOT, "guest.start", GuestRef(100), dry_run=True)
    assert read == [1]
