"""Bad input on every way in at once, against one real process, while a good sender goes on."""

import asyncio
import json
import re
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from mqtt_bridge.wording.clean import MESSAGE_LIMIT, TITLE_LIMIT
from tests.support.processes import until
from tests.system.attack_main import HUGE
from tests.system.attack_stage import SECRETS, SMTP_PASSWORD, SMTP_USER, TOKEN, Stage, arrivals, stage
from tests.system.attack_texts import MARK, frames, mails, messages

SECONDS = 25.0
AGAIN = 3
GROWTH = 300_000_000  # bytes: bodies may take 64 MiB, and each queue its own share; what was freed stays resident
ROOT = Path(__file__).parents[2]
LATE = 20.0  # seconds; as a rule it is two to five on two busy cores, with a flood of syslog in between
LIMIT = 64 * 1024  # bytes of a file
_EVENT = re.compile(r"proxmox/[^/]+/event/")
_HIDDEN = "\u202e\u2066\u200b\ufeff\x1b\x9b" + chr(0xE0041)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
EXPECTED = {
    "SMTP": {"too many connections", "wrong login", "not logged in"},
    "GOTIFY_IN": {"not a message"},
    "WEBHOOK": {"empty body", "no message", "too large", "wrong token", "unknown path", "unknown site"},
    "METRICS": {"no Proxmox metrics", "malformed line", "wrong token", "unknown node"},
}
_TOPIC = re.compile(r"proxmox/(lab|unassigned)/event/(info|warning|error|critical)(/[a-z0-9_-]+)+")


async def attack(on: Stage, seconds: float = SECONDS) -> dict[str, int]:
    """What the attackers' process did."""
    given = {**vars(on.ports), "token": TOKEN, "user": SMTP_USER, "password": SMTP_PASSWORD}
    words = [sys.executable, "-m", "tests.system.attack_main", json.dumps(given), str(seconds)]
    attackers = await asyncio.create_subprocess_exec(*words, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    out, _ = await attackers.communicate()
    return dict(json.loads(out))


async def attack_mailbox(on: Stage) -> None:
    huge = b"From: root@pve1.lab\r\nSubject: vzdump backup status (pve1)\r\n\r\n" + b"x" * HUGE
    for mail in [*mails(), huge]:
        await asyncio.to_thread(on.dovecot.deliver, mail)
        await asyncio.sleep(0.3)


async def attack_gotify(on: Stage) -> None:
    for message in messages():
        on.gotify.post(**message)
    for frame in frames():
        await until(lambda: on.gotify.streams, 60)
        for stream in list(on.gotify.streams):
            if not stream.closed:
                await (stream.send_bytes(frame) if isinstance(frame, bytes) else stream.send_str(frame))
        await asyncio.sleep(0.3)


@dataclass
class Outcome:
    """What is left of an attack."""

    began: float
    ended: float
    health: int
    grown: int  # bytes of memory
    rows: list[tuple[float, str, bytes]]
    info: dict[str, Any]
    log: str
    did: dict[str, int]

    @property
    def events(self) -> list[tuple[str, dict[str, Any]]]:
        return [(topic, json.loads(payload)) for _, topic, payload in self.rows if _EVENT.match(topic)]


async def under_attack(on: Stage) -> Outcome:
    before, began = on.bridge.resident(), time.time()
    async with asyncio.TaskGroup() as group:
        attacking = group.create_task(attack(on))
        group.create_task(attack_mailbox(on))
        group.create_task(attack_gotify(on))
        group.create_task(on.good.run(time.monotonic() + SECONDS))
    ended, health = time.time(), await on.health()
    wanted = set(on.good.sent) - set(on.good.failed)
    await until(lambda: set(arrivals(on.observer.rows())) >= wanted, 30, lambda: list(on.good.failed.items())[:5])
    grown = on.bridge.resident() - before
    await asyncio.sleep(3)  # bridge/info comes every two seconds
    did = attacking.result()
    for _ in range(AGAIN):  # on a busy machine some attacks do not come through in the first round
        if not lacking(on.info()):
            break
        await attack(on, SECONDS / 2)
        await asyncio.sleep(3)
    return Outcome(began, ended, health, grown, on.observer.rows(), on.info(), on.bridge.err, did)


@pytest.mark.timeout(240)
async def test_everything_at_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as on:
        found = await under_attack(on)
        assert await on.bridge.stop(seconds=20) == 0
    late = sorted(at - on.good.sent[name] for name, at in arrivals(found.rows).items())
    p99 = late[int(len(late) * 0.99)]
    print(json.dumps(found.did), json.dumps({n: one["rejected"] for n, one in found.info["listeners"].items()}))  # noqa: T201
    print(f"{len(late)} reports, median {statistics.median(late):.2f} s, p99 {p99:.2f} s, {found.grown / 1e6:+.0f} MB")  # noqa: T201
    assert on.good.failed == {}, "a good report was not accepted"
    assert p99 < LATE
    assert found.health == 200
    assert found.grown < GROWTH
    beats = [at for at, topic, _ in found.rows if topic == "proxmox/lab/heartbeat" and found.began < at < found.ended]
    assert len(beats) > SECONDS / 5, "the poller went on"
    assert list(wrong(found.events)) == []
    assert not [name for name in found.did if name.startswith("failed") or name in ("webhook 500", "metrics 500")]
    quiet(found.log)
    assert lacking(found.info) == []
    for name in EXPECTED:
        assert found.info["listeners"][name]["status"] == "ok", name


def lacking(info: dict[str, Any]) -> list[tuple[str, str]]:
    """What should have been counted as rejected, and was not."""
    seen = {name: info["listeners"][name]["rejected"] for name in EXPECTED}
    return [(name, reason) for name, reasons in EXPECTED.items() for reason in sorted(reasons - set(seen[name]))]


def quiet(log: str) -> None:
    """A log that an attacker cannot fill, with nothing of his and none of our secrets."""
    assert len(log) < 50_000
    assert "Traceback" not in log
    assert " ERROR " not in log
    assert MARK not in log
    assert [secret for secret in SECRETS if secret in log] == []


def wrong(events: list[tuple[str, dict[str, Any]]]) -> Iterator[str]:
    """What is not as an event has to be, whoever wrote its text."""
    for topic, event in events:
        texts = list(strings(event))
        if not _TOPIC.fullmatch(topic):
            yield f"topic {topic!r}"
        if len(event["title"]) > TITLE_LIMIT or len(event["message"]) > MESSAGE_LIMIT:
            yield f"too long: {event['title']!r}"
        if any(character in text for text in texts for character in _HIDDEN) or any(map(_CONTROL.search, texts)):
            yield f"not cleaned: {event!r}"[:500]
        if len(json.dumps(event)) > 200_000:
            yield f"{len(json.dumps(event))} bytes"


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, each in value.items():
            yield key
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)


# --- connections -----------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
async def test_silent_connections_lock_nobody_out(tmp_path: Path) -> None:
    """Three hundred on each port, from the good sender's own address."""
    async with stage(tmp_path) as on:
        async with AsyncExitStack() as stack:
            for port in (on.ports.webhook, on.ports.smtp, on.ports.syslog, on.ports.metrics):
                for _ in range(300):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    stack.callback(writer.close)
            await asyncio.sleep(1.1)  # the grace of `places`
            began = time.monotonic()
            await on.good.run(time.monotonic() + 1)
            _, line = await asyncio.open_connection("127.0.0.1", on.ports.syslog)
            line.write(b"<27>Nov 20 03:00:00 pve1 x[1]: good-mail-999\n")
            await line.drain()
            await until(lambda: on.info()["listeners"]["SYSLOG"]["accepted"] == 1)
            line.close()
            took = time.monotonic() - began
        assert on.good.failed == {}
        assert took < 15
        rejected = on.rejected()
    assert all(rejected[name]["too many connections"] for name in ("SMTP", "SYSLOG", "WEBHOOK", "METRICS")), rejected


# --- the journal cannot be written -----------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits of another process can be set on Linux only")
@pytest.mark.timeout(120)
async def test_a_journal_that_cannot_grow(tmp_path: Path) -> None:
    """As on a full disk (a limit of file size, which every user can set): senders are told, and nothing is lost."""
    async with stage(tmp_path) as on:
        await on.good.run(time.monotonic() + 3)  # the write-ahead log is beyond the limit from here on
        await until(lambda: set(arrivals(on.observer.rows())) == set(on.good.sent))
        _, hard = resource.prlimit(on.bridge.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(on.bridge.pid, resource.RLIMIT_FSIZE, (LIMIT, hard))
        _, line = await asyncio.open_connection("127.0.0.1", on.ports.syslog)
        line.writelines(b"<27>Nov 20 03:00:00 pve1 x[1]: kept-%d\n" % number for number in range(50))
        before = set(on.good.sent)
        await on.good.run(time.monotonic() + 2)
        refused = {name: why for name, why in on.good.failed.items() if name not in before}
        assert set(refused) == set(on.good.sent) - before
        assert all(why.startswith("503") for name, why in refused.items() if "webhook" in name), refused
        assert all("451" in why for name, why in refused.items() if "mail" in name), refused
        await until(lambda: any("journal" in problem for problem in on.info()["problems"]))
        assert await on.health() == 503
        assert on.info()["listeners"]["SYSLOG"]["accepted"] == 0
        resource.prlimit(on.bridge.pid, resource.RLIMIT_FSIZE, (hard, hard))
        await until(lambda: on.info()["listeners"]["SYSLOG"]["accepted"] == 50)
        again = set(on.good.sent)
        await on.good.run(time.monotonic() + 2)
        accepted = set(on.good.sent) - set(on.good.failed)
        assert set(on.good.failed) == set(refused)
        await until(lambda: set(arrivals(on.observer.rows())) >= accepted)
        assert set(arrivals(on.observer.rows())) == accepted > again - set(refused)
        await until(lambda: not on.info()["problems"])
        assert await on.health() == 200
        log = on.bridge.err
        line.close()
    quiet(log.replace(" ERROR ", " "))
