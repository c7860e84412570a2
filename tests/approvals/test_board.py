"""What waits for an approval, as a real Mosquitto has it, while another client alters it and outlives it."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge import model
from mqtt_bridge.approvals import Approvals, Grant
from mqtt_bridge.approvals.desk import Desk
from mqtt_bridge.approvals.proofs import key_of
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.settings.approving import ApprovalSettings
from tests.approvals.making import SECRETS, SETTINGS, Clock, pending, request
from tests.approvals.over_mqtt import NAMES, client, desk, proof, until
from tests.approvals.test_store import audited
from tests.support.mosquitto import Mosquitto


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


async def test_it_is_published_while_it_waits_and_cleared_when_it_is_decided(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        waits = await pending(approvals)
        await until(lambda: other.published(waits.id))
        told = model.Approval.model_validate(other.published(waits.id))
        assert told.requester == "agent"
        assert told.approvers == ("alice", "bob")
        assert told.calls == ("DELETE /nodes/pve1/qemu/100",)
        assert told.digest == request(approvals).digest
        assert told.expires_at == waits.expires_at
        said = json.dumps(other.published(waits.id))
        assert not any(secret in said or key_of(secret) in said for secret in SECRETS.values())
        answer = await other.answer(
            waits.id, "alice", decision="approve", digest=told.digest, proof=proof(waits.id, told.digest)
        )
        title = "Delete a guest: guest 100 (web) on pve1"
        assert answer == {
            "id": waits.id, "ok": True, "by": "alice", "title": title, "state": "approved", "error": None
        }  # fmt: skip
        await until(lambda: other.published(waits.id) is None, "it was not cleared")
        assert await approvals.obtain(request(approvals), given=waits.id) == Grant(waits.id, "alice", "hmac")


async def test_it_is_cleared_when_its_time_is_over(tmp_path: Path, mosquitto: Mosquitto) -> None:
    clock = Clock(time.time())
    async with (
        Approvals(tmp_path, SETTINGS, clock=clock) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        waits = await pending(approvals)
        await until(lambda: other.published(waits.id))
        clock.now += SETTINGS.timeout + 1
        await until(lambda: other.published(waits.id) is None, "it was not cleared")
        assert [row["event"] for row in audited(tmp_path)] == ["approval.requested", "approval.expired"]


async def test_the_same_on_a_broker_of_before_mqtt_5(tmp_path: Path, mosquitto: Mosquitto) -> None:
    options = replace(mosquitto.options, protocol="3.1.1")
    async with Approvals(tmp_path, SETTINGS) as approvals, client(options) as other, desk(approvals, options) as one:
        waits = await pending(approvals)
        await until(lambda: other.published(waits.id))
        digest = request(approvals).digest
        said: dict[str, Any] = {"decision": "approve", "digest": digest, "proof": proof(waits.id, digest)}
        assert (await other.answer(waits.id, "alice", **said))["ok"]
        await until(lambda: other.published(waits.id) is None, "it was not cleared")
        assert one.stats["published"] <= 2, "it publishes again what it hears of itself"


async def test_without_approvers_it_is_published_and_says_so(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with (
        Approvals(tmp_path, ApprovalSettings()) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        waits = await pending(approvals)
        await until(lambda: other.published(waits.id))
        told = other.published(waits.id)
        assert told
        assert told["approvers"] == []
        assert "No approver is configured (APPROVERS)" in told["how"][0]
        await other.say(waits.id, "alice", decision="reject")  # APPROVAL_MQTT=off listens to nobody
        (row,) = await approvals.pending()
        assert row.id == waits.id


async def test_a_late_subscriber_sees_it_until_it_expires(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The broker itself forgets it (message expiry), also when nobody is left to clear it."""
    async with Approvals(tmp_path, replace(SETTINGS, timeout=10)) as approvals:
        async with client(mosquitto.options) as other, desk(approvals, mosquitto.options):
            waits = await pending(approvals)
            await until(lambda: other.published(waits.id))
        async with client(mosquitto.options) as late:
            await until(lambda: late.published(waits.id), "it was not retained")
        end = time.time() + 40
        left: list[Message] = [Message("", b"")]
        while left and time.time() < end:
            async with client(mosquitto.options) as later:
                assert later.bus
                await later.bus.publish("proxmox/mark", b"x", qos=1)
                await until(lambda: any(m.topic == "proxmox/mark" for m in later.seen))
                left = [m for m in later.seen if "/approval/" in m.topic]
        assert not left, "the broker still has it"
        row = await approvals.get(waits.id)
        assert row
        await until(lambda: time.time() > row.expires_at)
        with pytest.raises(PolicyError, match="expired"):
            await approvals.obtain(request(approvals), given=waits.id)


async def test_altered_and_cleared_ones_are_put_right(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options) as one,
    ):
        waits = await pending(approvals)
        await until(lambda: other.published(waits.id))
        told = other.published(waits.id)
        assert told
        topic = NAMES.build("approval", site="lab", id=waits.id)
        right = other.held[topic]
        assert other.bus
        for forged in (json.dumps({**told, "title": "Start a guest"}).encode(), b"", b"nonsense"):
            other.held.clear()
            await other.bus.publish(topic, forged, qos=1, retain=True)
            await until(lambda: other.held.get(topic) == right, "it was not put right")
        await until(lambda: one.stats["foreign_writes"] >= 3)


async def test_what_others_publish_stays_until_its_time_is_over(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Another process of the site has a STATE_DIR of its own; leftovers and nonsense go."""
    async with (
        Approvals(tmp_path / "theirs", SETTINGS) as theirs,
        client(mosquitto.options) as other,
    ):
        live = await pending(theirs)
        async with desk(theirs, mosquitto.options):
            await until(lambda: other.published(live.id))
        told = other.published(live.id)
        assert told
        assert other.bus
        over, far, junk, foreign = ("1" * 32, "2" * 32, "3" * 32, "4" * 32)
        for given, text in (
            (over, json.dumps({**told, "id": over, "expires_at": "2020-01-01T00:00:00Z"})),
            (far, json.dumps({**told, "id": far, "expires_at": "2999-01-01T00:00:00Z"})),
            (junk, "nonsense"),
            (foreign, json.dumps(told)),  # under an id that is not its own
        ):
            await other.bus.publish(NAMES.build("approval", site="lab", id=given), text.encode(), qos=1, retain=True)
        async with Approvals(tmp_path / "ours", SETTINGS) as ours, desk(ours, mosquitto.options) as one:
            await until(lambda: one.stats["cleared"] >= 4, "the leftovers were not cleared")
            assert {t.rpartition("/")[2] for t, p in other.held.items() if p} == {live.id}
            await other.say(live.id, "alice", decision="reject")  # about what is not ours: left to its owner
            await until(lambda: one.stats["elsewhere"])
            assert other.results(live.id) == []


async def test_after_a_restart_of_the_broker_it_is_published_again(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals, desk(approvals, mosquitto.options):
        waits = await pending(approvals)
        await mosquitto.restart()  # which has lost what it held
        async with client(mosquitto.options) as other:
            await until(lambda: other.published(waits.id), "it was not published again")


async def test_one_desk_of_a_state_dir_answers(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as one,
        Approvals(tmp_path, SETTINGS) as two,
        client(mosquitto.options) as other,
        desk(one, mosquitto.options),
        Desk(two, mosquitto.options, NAMES, ["lab"]) as second,
    ):
        waits = await pending(two)
        digest = request(two).digest
        said: dict[str, Any] = {"decision": "approve", "digest": digest, "proof": proof(waits.id, digest)}
        assert (await other.answer(waits.id, "alice", **said))["ok"]
        assert not second.active
        assert len(other.results(waits.id)) == 1
