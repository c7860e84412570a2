"""The word of whoever sits at the MCP client: counts where APPROVAL_ELICITATION says so, and once."""

from dataclasses import replace
from pathlib import Path

import pytest

from mqtt_bridge.approvals import ApprovalRequest, Approvals, Decider, Grant, Pending
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.policy import Principal
from tests.approvals.making import AGENT, AT_DESK, SETTINGS, pending, request


class Person:
    """Answers what it is asked."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.asked: list[ApprovalRequest] = []

    async def __call__(self, asked: ApprovalRequest) -> bool | None:
        self.asked.append(asked)
        return self.answer


async def test_yes_is_used_at_once_and_once(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        person = Person(True)
        granted = await approvals.obtain(request(approvals, AT_DESK), ask=person)
        assert isinstance(granted, Grant)
        assert granted.how == "elicitation"
        assert len(person.asked) == 1
        with pytest.raises(PolicyError, match="used already"):
            await approvals.obtain(request(approvals, AT_DESK), given=granted.id)
        with pytest.raises(PolicyError, match="used already"):  # the same answer, replayed
            await approvals.consent(granted.id, AT_DESK, yes=True)


async def test_no_is_a_refusal_for_good(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        with pytest.raises(PolicyError, match="declined"):
            await approvals.obtain(request(approvals, AT_DESK), ask=Person(False))
        (row,) = await approvals.recent()
        assert row.state == "rejected"
        with pytest.raises(PolicyError, match="was rejected"):
            await approvals.consent(row.id, AT_DESK, yes=True)


async def test_who_cannot_be_asked_waits(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        assert isinstance(await approvals.obtain(request(approvals, AT_DESK), ask=Person(None)), Pending)


@pytest.mark.parametrize(
    ("setting", "channel", "counts"),
    [
        ("off", "stdio", False), ("off", "http", False), ("stdio", "stdio", True), ("stdio", "http", False),
        ("all", "stdio", True), ("all", "http", True), ("all", "mqtt", False), ("all", "discord", False),
        ("all", "rules", False), ("all", "console", False),
    ],
)  # fmt: skip
async def test_where_it_counts(tmp_path: Path, setting: str, channel: str, counts: bool) -> None:
    principal = Principal("somebody", channel, "exec")  # type: ignore[arg-type]
    async with Approvals(tmp_path, replace(SETTINGS, elicitation=setting)) as approvals:  # type: ignore[arg-type]
        person = Person(True)
        came = await approvals.obtain(request(approvals, principal), ask=person)
        assert isinstance(came, Grant) is counts
        assert bool(person.asked) is counts
        if not counts:
            assert isinstance(came, Pending)
            with pytest.raises(PolicyError, match="counts for nothing"):
                await approvals.consent(came.id, principal, yes=True)


async def test_the_answer_belongs_to_the_principal_that_was_asked(tmp_path: Path) -> None:
    async with Approvals(tmp_path, replace(SETTINGS, elicitation="all")) as approvals:
        waits = await pending(approvals)
        with pytest.raises(PolicyError, match="somebody else"):
            await approvals.consent(waits.id, replace(AGENT, name="other"), yes=True)
        with pytest.raises(PolicyError, match="no such approval"):
            await approvals.consent("0" * 32, AGENT, yes=True)


async def test_what_changed_while_the_person_thought_makes_it_stale(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:

        async def another() -> str:
            return approvals.digest({"vmid": "another"})

        with pytest.raises(PolicyError, match="stale"):
            await approvals.obtain(request(approvals, AT_DESK), ask=Person(True), again=another)


async def test_an_approver_who_is_quicker_than_the_client_is_enough(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:

        async def slow(asked: ApprovalRequest) -> bool:
            (row,) = await approvals.pending()
            assert row.digest == asked.digest
            await approvals.decide(row.id, "approve", Decider("alice", "secret"))
            return True

        granted = await approvals.obtain(request(approvals, AT_DESK), ask=slow)
        assert isinstance(granted, Grant)
        assert granted.by == "alice"
