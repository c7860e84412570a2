"""Reads of a cached list against a server that asks the API each time, turn by turn; also while a node is dead."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from proxmox_mcp.lab import Lab, LabOptions
from tests.bench.parts import (
    DIRECT,
    Caller,
    direct_environment,
    direct_http,
    on_the_wire,
    our_http,
    p50,
    p99,
    sdk_http,
    sdk_stdio,
    timed,
)
from tests.bench.report import Report, milliseconds
from tests.support.mosquitto import Mosquitto
from tests.support.processes import Command, Tree, environment, until

GUESTS = 120
LATENCY = 50  # milliseconds of each API call
ROUNDS = 40
OURS_PER_ROUND = 5


WIRE = "HTTP"
TRANSPORTS = (WIRE, "HTTP through the SDK's client", "stdio through the SDK's client")


@dataclass
class Stand:
    """The same reads over the same transports from both servers, on one lab."""

    lab: Lab
    ours: dict[str, Caller]
    direct: dict[str, Caller]
    metrics: str

    async def api_calls_of_ours(self) -> int:
        """By the reader's own count."""
        async with httpx2.AsyncClient(trust_env=False) as web:
            text = (await web.get(self.metrics)).text
        counts = [line for line in text.splitlines() if line.startswith("proxmox_api_call_seconds_count")]
        return int(sum(float(line.rpartition(" ")[2]) for line in counts))


@pytest.fixture
async def stand(tmp_path: Path) -> AsyncIterator[Stand]:
    async with AsyncExitStack() as stack:
        enter = stack.enter_async_context
        lab = await enter(Lab(LabOptions(guests=GUESTS)))
        mosquitto = await enter(Mosquitto(tmp_path / "mosquitto"))
        settings = {**lab.env, "MQTT_HOST": "127.0.0.1", "MQTT_PORT": str(mosquitto.port)}
        env = environment(**settings, STATE_DIR=str(tmp_path / "bridge-state"))
        await enter(Command(tmp_path / "bridge", "mqtt-bridge", "run", env=env))
        tree = await enter(Tree(mosquitto.options))
        await until(lambda: len(tree.guests()) == GUESTS and tree.json("lab/manifest"), 30)
        reader = environment(**settings, STATE_DIR=str(tmp_path / "reader-state"))
        url, direct = await enter(our_http(tmp_path / "http", reader)), await enter(direct_http(tmp_path / "d", lab))
        ours = [
            await enter(on_the_wire(url)),
            await enter(sdk_http(url)),
            await enter(sdk_stdio(tmp_path / "stdio", reader, "-m", "proxmox_mcp", "stdio")),
        ]
        theirs = [
            await enter(on_the_wire(direct)),
            await enter(sdk_http(direct)),
            await enter(sdk_stdio(tmp_path / "d-stdio", direct_environment(lab), str(DIRECT), "stdio")),
        ]
        metrics = url.removesuffix("/mcp") + "/metrics"
        yield Stand(lab, dict(zip(TRANSPORTS, ours, strict=True)), dict(zip(TRANSPORTS, theirs, strict=True)), metrics)


async def in_turn(
    ours: Caller, direct: Caller, rounds: int, expected: Sequence[int], pause: float = 0
) -> tuple[list[float], list[float], list[int]]:
    """Seconds of our reads, of the direct server's, and how many guests the latter found."""
    mine, theirs, found = [], [], []
    for _ in range(rounds):
        took, answer = await timed(direct)
        theirs.append(took)
        found.append(len(answer["result"]))
        await asyncio.sleep(pause)
        await timed(ours)  # the connection may have gone idle
        for _ in range(OURS_PER_ROUND):
            took, answer = await timed(ours, limit=1000)
            mine.append(took)
            assert [g["vmid"] for g in answer["guests"]] == list(expected)
            assert (answer["source"], answer["complete"]) == ("mqtt", True)
    return mine, theirs, found


def vms(lab: Lab) -> list[int]:
    return sorted(g.vmid for g in lab.world.sorted_guests() if g.kind == "qemu")


async def test_a_cached_list(stand: Stand, report: Report) -> None:
    stand.lab.fault("api-latency", LATENCY)
    for transport, ours in stand.ours.items():
        direct = stand.direct[transport]
        await timed(ours)
        await timed(direct)
        asked = await stand.api_calls_of_ours()
        mine, theirs, found = await in_turn(ours, direct, ROUNDS, vms(stand.lab))
        assert set(found) == {len(vms(stand.lab))}, "both see the same"
        calls = await stand.api_calls_of_ours() - asked
        assert calls == 0
        ratio = p50(theirs) / p50(mine)
        figures = {name: {"p50": p50(t), "p99": p99(t)} for name, t in (("ours", mine), ("direct", theirs))}
        report.figures[f"cached read {transport}"] = {**figures, "ratio": ratio, "api_calls": calls}
        report.add(
            f"read of {len(vms(stand.lab))} VMs ({GUESTS} guests, API {LATENCY} ms), {transport}",
            "20 x faster, 0 API calls",
            f"{ratio:.0f} x (p50 {milliseconds(p50(mine))} against {milliseconds(p50(theirs))}, "
            f"p99 {milliseconds(p99(mine))} against {milliseconds(p99(theirs))}), {calls} API calls",
            ratio >= 20 and calls == 0,
        )


@pytest.mark.parametrize(("fault", "rounds", "pause"), [("node-down", 10, 0.8), ("node-hang", 4, 5.0)])
async def test_one_node_gone(stand: Stand, report: Report, fault: str, rounds: int, pause: float) -> None:
    """`pause`: what the direct server takes during the fault, so that ours is as idle before as it is then."""
    ours, direct = stand.ours[WIRE], stand.direct[WIRE]
    await timed(ours)
    await timed(direct)
    before, direct_before, _ = await in_turn(ours, direct, rounds, vms(stand.lab), pause)
    last = list(stand.lab.hosts)[-1]
    stand.lab.fault(fault, last)
    during, direct_during, found = await in_turn(ours, direct, rounds, vms(stand.lab))
    assert max(found) < len(vms(stand.lab)), "the direct server cannot see the guests of that node"
    report.figures[fault] = {
        "ours": {"before": p50(before), "during": p50(during)},
        "direct": {"before": p50(direct_before), "during": p50(direct_during)},
    }
    report.add(
        f"one node of {len(stand.lab.hosts)}: {fault}",
        "reads as fast as before",
        f"p50 {milliseconds(p50(before))} before, {milliseconds(p50(during))} during; the direct server "
        f"{milliseconds(p50(direct_before))} and {milliseconds(p50(direct_during))}",
        p50(during) <= 1.5 * p50(before),
    )
