"""The trail of one action that a person approved: who asked, through what, who decided, what Proxmox answered."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from mqtt_bridge.approvals import Approvals, Decider
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.settings import PermissionSettings
from mqtt_bridge.targets import GuestRef
from tests.approvals.making import AGENT, SETTINGS
from tests.policy.bench import VM, Bench, opened

ASKING = PermissionSettings(mcp_allow="exec", approval_required=frozenset({"change"}))


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(tmp_path / "state") as ready:
        yield ready


async def test_who_asked_through_what_who_decided_and_what_proxmox_answered(bench: Bench) -> None:
    async with Approvals(bench.folder, SETTINGS) as approvals:
        actions = bench.actions(ASKING, approvals=approvals)
        asked = await actions.perform(AGENT, "guest.reset", GuestRef(VM), reason="it hangs")
        assert asked.approval is not None
        await approvals.decide(asked.approval.id, "approve", Decider("alice", "secret"))
        done = await actions.perform(AGENT, "guest.reset", GuestRef(VM), approval=asked.approval.id, timeout=30)
    assert done.ok
    trail = {record["event"]: record for record in bench.records}
    intent, outcome = trail["action.intent"], trail["action.outcome"]
    for record in (intent, outcome, trail["action.waiting"]):
        assert (record["principal"], record["channel"], record["target"]) == ("agent", "http", "VM 100 (web01)")
    assert trail["action.waiting"]["approval"] == intent["approval"] == asked.approval.id
    assert (intent["approved_by"], intent["approved_how"], intent["calls"][0]["method"]) == ("alice", "secret", "POST")
    assert (outcome["ok"], outcome["upid"], outcome["answer"]) == (True, done.upid, "OK")
    assert (trail["approval.approved"]["by"], trail["approval.approved"]["approval"]) == ("alice", asked.approval.id)


async def test_a_rejection_is_in_it_too_and_nothing_is_sent(bench: Bench) -> None:
    async with Approvals(bench.folder, SETTINGS) as approvals:
        actions = bench.actions(ASKING, approvals=approvals)
        asked = await actions.perform(AGENT, "guest.reset", GuestRef(VM))
        assert asked.approval is not None
        await approvals.decide(asked.approval.id, "reject", Decider("bob", "claimed"))
        with pytest.raises(PolicyError):
            await actions.perform(AGENT, "guest.reset", GuestRef(VM), approval=asked.approval.id)
    assert bench.writes == []
    assert any("bob" in str(record) and asked.approval.id in str(record) for record in bench.records)
    assert bench.records[-1]["event"] == "action.refused"
