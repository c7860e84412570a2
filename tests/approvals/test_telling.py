"""Approvers are told: everybody without a code, each approver's own way with it, nobody else; and events tell of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import pytest

from mqtt_bridge.approvals import Approvals, Decider
from mqtt_bridge.approvals.deciders import Deciders
from mqtt_bridge.approvals.telling import Teller
from mqtt_bridge.approvals.ways import own
from mqtt_bridge.approvals.witness import Witness
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.notifiers.notice import LaterError, Notice, Notifier, RefusedError, Sent
from mqtt_bridge.secret import Secret
from mqtt_bridge.settings import Settings
from mqtt_bridge.settings.approving import Approver
from mqtt_bridge.settings.notifying import NtfySettings, OutSettings
from tests.approvals.making import AGENT, ALICE, BOB, SETTINGS, pending
from tests.approvals.over_mqtt import until
from tests.support.intakes import Remembering
from tests.support.services import NtfyServer

OWN = replace(
    SETTINGS,
    approvers=(
        replace(ALICE, ways=(("ntfy", Secret("alices-own")),)),
        replace(BOB, ways=(("ntfy", Secret("bobs-own")),)),
    ),
)


@dataclass
class Way:
    """Somebody's own notifier; `fails` are raised one by one before anything is taken."""

    name: str
    took: list[Notice]
    fails: list[Exception] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def send(self, notice: Notice) -> Sent:
        if self.fails:
            raise self.fails.pop(0)
        self.took.append(notice)
        return Sent()


@dataclass
class Post:
    """What everybody and each approver got."""

    everybody: list[Notice] = field(default_factory=list)
    own: dict[str, list[Notice]] = field(default_factory=dict)
    fails: dict[str, list[Exception]] = field(default_factory=dict)

    async def announce(self, notice: Notice) -> None:
        self.everybody.append(notice)

    def ways(self, approver: Approver) -> Sequence[Notifier]:
        took = self.own.setdefault(approver.name, [])
        return [Way("NTFY", took, self.fails.get(approver.name, []))]

    def code(self, who: str) -> str:
        return self.own[who][-1].text.splitlines()[0].rpartition(": ")[2]


@asynccontextmanager
async def telling(approvals: Approvals, post: Post) -> AsyncIterator[Teller]:
    teller = Teller(approvals, post.ways, post.announce)
    task = asyncio.create_task(teller.run())
    try:
        yield teller
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_each_approver_gets_a_code_of_his_own_and_nobody_else(tmp_path: Path) -> None:
    post = Post()
    async with Approvals(tmp_path, OWN) as approvals, telling(approvals, post):
        waits = await pending(approvals)
        await until(lambda: post.own.get("alice") and post.own.get("bob") and post.everybody)
        alices, bobs = post.code("alice"), post.code("bob")
        assert alices != bobs
        assert "Delete a guest" in post.everybody[0].title
        for notice in post.everybody:
            assert alices not in repr(notice)
            assert bobs not in repr(notice)
        assert alices not in repr(post.own["bob"])
        for file in tmp_path.iterdir():  # only its hash is kept
            assert alices.encode() not in file.read_bytes()
        decider = await Deciders(approvals).by_code(waits.id, "approve", "alice", alices)
        await approvals.decide(waits.id, "approve", decider)
        await asyncio.sleep(0)
        assert len(post.everybody) == 1


async def test_whoever_asked_gets_no_code(tmp_path: Path) -> None:
    post = Post()
    async with Approvals(tmp_path, OWN) as approvals, telling(approvals, post):
        await pending(approvals, replace(AGENT, name="alice"))
        await until(lambda: post.own.get("bob"))
        assert not post.own.get("alice")


async def test_a_way_that_fails_is_tried_again_and_one_that_refuses_is_named(tmp_path: Path) -> None:
    post = Post(fails={"alice": [LaterError("busy", after=0.01)], "bob": [RefusedError("no such topic")]})
    async with Approvals(tmp_path, OWN) as approvals, telling(approvals, post) as teller:
        await pending(approvals)
        await until(lambda: post.own.get("alice"))
        await until(lambda: teller.problems)
        assert teller.problems == {"bob (NTFY)": "no such topic"}


async def test_after_a_restart_a_code_that_arrived_stays_good(tmp_path: Path) -> None:
    first, second = Post(), Post()
    async with Approvals(tmp_path, OWN) as approvals:
        async with telling(approvals, first):
            waits = await pending(approvals)
            await until(lambda: first.own.get("alice") and first.own.get("bob"))
            await until_sent(approvals, waits.id, 2)
        async with telling(approvals, second):
            await until(lambda: second.everybody)
            await pending(approvals, vmid=7)
            await until(lambda: second.own.get("alice") and second.own.get("bob"))
        assert len(second.own["alice"]) == 1  # of the new one alone
        decider = await Deciders(approvals).by_code(waits.id, "approve", "alice", first.code("alice"))
        await approvals.decide(waits.id, "approve", decider)


async def until_sent(approvals: Approvals, given: str, count: int) -> None:
    sql = "SELECT COUNT(*) FROM codes WHERE approval = ? AND sent"
    for _ in range(1000):
        if await approvals.db.read(lambda c: c.execute(sql, [given]).fetchone()[0]) == count:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("the codes were not sent")


async def test_the_real_ntfy_notifier_sends_it_to_the_approver_s_topic(tmp_path: Path) -> None:
    ntfy = NtfyServer(topics=("alices-own", "bobs-own", "everybody"))
    async with ntfy.running(), Approvals(tmp_path, OWN) as approvals:
        settings = Settings(out=OutSettings(ntfy=NtfySettings(server_url=ntfy.url, topic=Secret("everybody"))))
        teller = Teller(approvals, lambda approver: own(settings, approver))
        task = asyncio.create_task(teller.run())
        waits = await pending(approvals)
        await until(lambda: len(ntfy.asked) >= 2)
        task.cancel()
        await asyncio.wait([task])
        sent = {asked.json["topic"]: asked.json["message"] for asked in ntfy.asked}
        assert set(sent) == {"alices-own", "bobs-own"}
        assert waits.id in sent["alices-own"]
        code = sent["alices-own"].splitlines()[0].rpartition(": ")[2]
        assert (await Deciders(approvals).by_code(waits.id, "approve", "alice", code)).name == "alice"


async def test_events_tell_of_requests_decisions_and_refusals(tmp_path: Path) -> None:
    intake = Remembering()
    async with Approvals(tmp_path, SETTINGS) as approvals:
        task = asyncio.create_task(Witness(approvals).run(intake))
        waits, other = await pending(approvals), await pending(approvals, vmid=101)
        await intake.reaches(2)
        with pytest.raises(PolicyError):
            await approvals.decide(waits.id, "approve", Decider("mallory", "secret"))
        await approvals.decide(waits.id, "approve", Decider("alice", "secret"))
        await approvals.decide(other.id, "reject", Decider("bob", "claimed"))
        await intake.reaches(5)
        task.cancel()
        await asyncio.wait([task])
    told = {one.verdict.kind: one for one in intake.reports}
    assert set(told) == {f"audit.approval.{what}" for what in ("requested", "refused", "approved", "rejected")}
    assert (told["audit.approval.refused"].verdict.severity, told["audit.approval.refused"].verdict.ok) == (
        "warning",
        False,
    )
    assert told["audit.approval.approved"].verdict.severity == "info"
    assert told["audit.approval.approved"].metadata["by"] == "alice"
    assert told["audit.approval.approved"].site == "lab"
