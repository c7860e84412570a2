"""Decisions over a real Mosquitto, while another client forges, replays and floods."""

import asyncio
import os
import re
import shutil
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.approvals import Approvals
from mqtt_bridge.approvals.clerk import LARGEST, Slip
from mqtt_bridge.approvals.deciders import Deciders
from mqtt_bridge.approvals.telling import make_code
from mqtt_bridge.errors import PolicyError
from mqtt_bridge.mqtt.bus import Message
from tests.approvals.making import AGENT, SECRETS, SETTINGS, pending, request
from tests.approvals.over_mqtt import NAMES, Client, client, desk, proof, until
from tests.approvals.test_store import audited
from tests.support.mosquitto import Mosquitto


@pytest.fixture
async def mosquitto(tmp_path: Path) -> AsyncIterator[Mosquitto]:
    async with Mosquitto(tmp_path / "mosquitto") as broker:
        yield broker


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
        ("alice", {"proof": {"hmac": "0" * 64, "ts": 1}}, "60 s"),
        ("alice", {"proof": {"hmac": "0" * 64, "ts": 1.5}}, "proof.ts: send a time with a fraction as"),
        ("alice", {"proof": {"hmac": "0" * 64, "ts": True}}, "proof.ts: Input should be a valid string"),
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


async def test_the_documented_shell_lines_approve(tmp_path: Path, mosquitto: Mosquitto) -> None:
    if not (shutil.which("openssl") and shutil.which("mosquitto_pub")):
        pytest.skip("needs openssl and mosquitto_pub")
    text = (Path(__file__).parents[2] / "docs" / "approvals.md").read_text(encoding="utf-8")
    lines = re.search(r"```sh\n(KEY=.*?)```", text, re.DOTALL)
    assert lines
    options = mosquitto.options
    at = f"mosquitto_pub -h {options.host} -p {options.port}"
    async with Approvals(tmp_path, SETTINGS) as approvals, desk(approvals, options):
        waits = await pending(approvals)
        given = {"SECRET": SECRETS["alice"], "ID": waits.id, "DIGEST": request(approvals).digest}
        command = lines[1].replace("mosquitto_pub", at)
        shell = await asyncio.create_subprocess_exec("sh", "-euc", command, env={"PATH": os.environ["PATH"], **given})
        assert await shell.wait() == 0

        async with asyncio.timeout(30):
            while (found := await approvals.get(waits.id)) and found.state == "pending":
                await asyncio.sleep(0.05)
        assert found
        assert (found.state, found.decided_by) == ("approved", "alice")


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


def _told(other: Client, given: str, after: int) -> bool:
    """Bob is answered; what is retained is refused again, to each desk that comes, before or after that."""
    return any("approving needs" in said["error"] for said in other.results(given)[after:])


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
                before = len(other.results(waits.id))
                await other.say(waits.id, "bob", decision="approve", digest=digest)
                await until(partial(_told, other, waits.id, before), "no answer to bob")
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
