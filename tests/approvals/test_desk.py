"""Approvals over a real Mosquitto, while another client tries to reuse, replay, alter and outlive them."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge import model
from mqtt_bridge.approvals import Approvals, Grant
from mqtt_bridge.approvals.clerk import LARGEST, Slip
from mqtt_bridge.approvals.deciders import Deciders
from mqtt_bridge.approvals.desk import Desk
from mqtt_bridge.approvals.proofs import Claim, key_of, sign
from mqtt_bridge.approvals.telling import make_code
from mqtt_bridge.bus import Message
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.settings.approving import ApprovalSettings
from tests.approvals.making import AGENT, SECRETS, SETTINGS, Clock, pending, request
from tests.approvals.over_mqtt import NAMES, client, desk, until
from tests.approvals.test_store import audited
from tests.support.mosquitto import Mosquitto


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


def proof(given: str, digest: str, who: str = "alice", decision: Any = "approve", **more: str) -> dict[str, str]:
    ts = more.get("ts", str(time.time()))
    claim = Claim(given, decision, digest, who, ts)
    return {"ts": ts, "hmac": sign(key_of(more.get("secret", SECRETS["alice"])), claim)}


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
        assert answer == {"id": waits.id, "ok": True, "by": "alice", "state": "approved", "error": None}
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


@pytest.mark.parametrize(
    ("who", "said", "why"),
    [
        ("mallory", {}, "no approver"),
        ("bob", {}, "The proof is wrong"),  # alice's proof under another name
        ("alice", {"proof": None}, "approving needs a one-time code, or an HMAC"),
        ("alice", {"proof": "AAAA-AAAA"}, "no code"),
        ("alice", {"proof": {"code": "AAAA-AAAA"}}, "no code"),
        ("alice", {"proof": {"hmac": "0" * 64, "ts": "1"}}, "60 s"),
        ("alice", {"proof": {"hmac": "0" * 64, "ts": "now"}}, "60 s"),
        ("alice", {"proof": {"hmac": "0" * 64}}, "an hmac and its ts"),
        ("alice", {"digest": "f" * 64}, "The proof is wrong"),  # made for the published one
        ("alice", {"digest": ""}, "digest: give back"),
        ("alice", {"decision": "grant"}, "decision: Input should be"),
        ("alice", {"more": 1}, "more: Extra inputs"),
    ],
)
async def test_what_is_forged_is_refused_written_down_and_answered(
    tmp_path: Path, mosquitto: Mosquitto, who: str, said: dict[str, Any], why: str
) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options) as one,
    ):
        waits = await pending(approvals)
        digest = request(approvals).digest
        whole = {"decision": "approve", "digest": digest, "proof": proof(waits.id, digest), **said}
        answer = await other.answer(waits.id, who, **whole)
        assert not answer["ok"]
        assert why in answer["error"]
        assert one.stats["refused"] == 1
        refused = audited(tmp_path)[-1]
        assert (refused["event"], refused["who"]) == ("approval.refused", who)
        found = await approvals.get(waits.id)
        assert found
        assert found.state == "pending"


async def test_one_signed_for_another_digest_decision_approval_or_time_is_refused(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        waits, second = await pending(approvals), await pending(approvals, vmid=101)
        digest = request(approvals).digest
        signed_other = proof(waits.id, "f" * 64)
        answer = await other.answer(waits.id, "alice", decision="approve", digest="f" * 64, proof=signed_other)
        assert "another digest" in answer["error"]
        for wrong in (
            proof(waits.id, digest, decision="reject"),
            proof(second.id, digest),
            proof(waits.id, digest, secret=SECRETS["bob"]),
            proof(waits.id, digest) | {"ts": str(time.time() + 1)},
        ):
            answer = await other.answer(waits.id, "alice", decision="approve", digest=digest, proof=wrong)
            assert "The proof is wrong" in answer["error"]
        old = proof(waits.id, digest, ts=str(time.time() - 3600))
        answer = await other.answer(waits.id, "alice", decision="approve", digest=digest, proof=old)
        assert "60 s" in answer["error"]


async def test_a_decision_that_is_replayed_decides_nothing(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """The very bytes, at once, after it was used, and on the next approval of the same thing."""
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        waits = await pending(approvals)
        digest = request(approvals).digest
        said: dict[str, Any] = {"decision": "approve", "digest": digest, "proof": proof(waits.id, digest)}
        assert (await other.answer(waits.id, "alice", **said))["ok"]
        assert "approved by alice already" in (await other.answer(waits.id, "alice", **said))["error"]
        await approvals.obtain(request(approvals), given=waits.id)
        assert "used already" in (await other.answer(waits.id, "alice", **said))["error"]
        again = await pending(approvals)
        assert again.id != waits.id
        assert "The proof is wrong" in (await other.answer(again.id, "alice", **said))["error"]
        with pytest.raises(PolicyError, match="used already"):
            await approvals.obtain(request(approvals), given=waits.id)


async def test_a_retained_decision_is_refused(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Live, and when it waits at the broker for the next desk."""
    async with Approvals(tmp_path, SETTINGS) as approvals, client(mosquitto.options) as other:
        waits = await pending(approvals)
        digest = request(approvals).digest
        said: dict[str, Any] = {"decision": "approve", "digest": digest, "proof": proof(waits.id, digest)}
        async with desk(approvals, mosquitto.options):
            answer = await other.answer(waits.id, "alice", retain=True, **said)
            assert "was retained" in answer["error"]
        for protocol in ("5", "3.1.1"):
            options = replace(mosquitto.options, protocol=protocol)
            async with desk(approvals, options):
                answer = await other.answer(waits.id, "bob", decision="approve", digest=digest)
                assert "approving needs" in answer["error"]
        found = await approvals.get(waits.id)
        assert found
        assert found.state == "pending"


@pytest.mark.parametrize("payload", [b"x" * (LARGEST + 1), b"approve", b"\xff\xfe", b"[]", b"{}", b'{"decision":1}'])
async def test_what_is_too_large_or_no_decision_is_refused(
    tmp_path: Path, mosquitto: Mosquitto, payload: bytes
) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        waits = await pending(approvals)
        await other.raw(waits.id, "alice", payload)
        await until(lambda: other.results(waits.id))
        assert not other.results(waits.id)[0]["ok"]
        assert audited(tmp_path)[-1]["event"] == "approval.refused"


async def test_a_code_decides_for_its_approver_five_tries_long(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        waits = await pending(approvals)
        digest = request(approvals).digest
        code = await make_code(approvals, waits.id, "alice")
        said: dict[str, Any] = {"decision": "approve", "digest": digest}
        assert "no code" in (await other.answer(waits.id, "bob", proof=code, **said))["error"]  # it is alice's
        for left in (4, 3, 2, 1):
            answer = await other.answer(waits.id, "alice", proof="AAAA-AAAA", **said)
            assert f"{left} tries are left" in answer["error"]
        assert "dead now" in (await other.answer(waits.id, "alice", proof="AAAA-AAAA", **said))["error"]
        assert "no code" in (await other.answer(waits.id, "alice", proof=code, **said))["error"]  # the right one
        fresh = await make_code(approvals, waits.id, "bob")
        answer = await other.answer(waits.id, "bob", proof={"code": fresh.lower().replace("-", " ")}, **said)
        assert answer["ok"]
        published = "".join(str(m.payload) for m in other.seen if "/decision/" not in m.topic)
        assert code not in published
        assert fresh not in published
        assert code not in (tmp_path / "audit.jsonl").read_text()


async def test_rejecting_needs_no_proof_but_says_who_claims_it(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        waits = await pending(approvals)
        answer = await other.answer(waits.id, "somebody", decision="reject")
        assert (answer["ok"], answer["state"]) == (True, "rejected")
        with pytest.raises(PolicyError, match="rejected by somebody"):
            await approvals.obtain(request(approvals), given=waits.id)
        assert (audited(tmp_path)[-1]["by"], audited(tmp_path)[-1]["how"]) == ("somebody", "claimed")


async def test_the_requester_cannot_approve_with_a_good_proof(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options),
    ):
        principal = replace(AGENT, name="alice")
        waits = await pending(approvals, principal)
        digest = request(approvals, principal).digest
        said: dict[str, Any] = {"decision": "approve", "digest": digest, "proof": proof(waits.id, digest)}
        assert "requester is never the approver" in (await other.answer(waits.id, "alice", **said))["error"]


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


async def test_the_answer_goes_to_a_response_topic_below_result_alone(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals, desk(approvals, mosquitto.options) as one:
        waits = await pending(approvals)
        for topic, fit in (
            ("proxmox/lab/result/mine", True),
            ("proxmox/lab/state", False),
            ("homeassistant/device/x/config", False),
            ("proxmox/lab/result/+", False),
        ):
            found = one.clerk._topics(Slip("lab", waits.id, "alice", Message("", b"", response_topic=topic)))
            assert (topic in found) is fit


async def test_a_flood_of_decisions_is_dropped_and_counted(tmp_path: Path, mosquitto: Mosquitto) -> None:
    async with (
        Approvals(tmp_path, SETTINGS) as approvals,
        client(mosquitto.options) as other,
        desk(approvals, mosquitto.options) as one,
    ):
        waits = await pending(approvals)
        assert other.bus
        topic = NAMES.build("approval_decision", site="lab", id=waits.id, who="mallory")
        await other.bus.publish_many([Message(topic, b"{}", 1) for _ in range(400)])
        await until(lambda: one.stats["dropped"] + one.stats["refused"] == 400)
        assert one.stats["refused"] <= 120


async def test_secret_of_an_approver_at_the_console(tmp_path: Path) -> None:
    async with Approvals(tmp_path, SETTINGS) as approvals:
        waits = await pending(approvals)
        deciders = Deciders(approvals)
        for who, secret in (("alice", "wrong"), ("alice", SECRETS["bob"]), ("mallory", SECRETS["alice"])):
            with pytest.raises(PolicyError, match="The proof is wrong"):
                await deciders.by_secret(waits.id, "approve", who, secret)
        decider = await deciders.by_secret(waits.id, "approve", "ALICE", f"{SECRETS['alice']}\n")
        assert (decider.name, decider.how) == ("alice", "secret")
        assert [row["event"] for row in audited(tmp_path)].count("approval.refused") == 3
