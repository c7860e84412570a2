"""The SYSLOG listener between real senders and an intake."""

import asyncio
import contextlib
import os
import random
import shutil
import socket
import subprocess
import sys
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from mqtt_bridge.events.intake import IntakeFullError, JournalError, Report
from mqtt_bridge.events.pipeline import Pipeline
from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.listeners.syslog import SyslogListener
from mqtt_bridge.listeners.syslog_tcp import Limits
from mqtt_bridge.settings.listening import EventSettings, Filters, SyslogSettings
from proxmox_mcp.lab import Lab, LabOptions
from tests.listeners.syslog_support import Kept, OneSite, running, send_tcp, send_udp, until

LINE = b"<29>Aug  8 20:22:01 pve1 pmxcfs[929]: [status] notice: node lost quorum"


async def test_udp_and_tcp_on_one_port() -> None:
    async with running() as (listener, intake):
        assert intake.health == [f"+listening on 127.0.0.1:{listener.port}, UDP and TCP"]
        send_udp(listener.port, LINE)
        await send_tcp(listener.port, LINE + b"\n" + b"%d %s" % (len(LINE), LINE) + LINE)
        await until(lambda: len(intake.reports) == 4)
    first = intake.reports[0]
    assert (first.verdict.kind, first.verdict.severity, first.verdict.node) == ("quorum.lost", "critical", "pve1")
    assert first.trust == "unauthenticated"
    assert first.metadata == {"sender": "127.0.0.1", "transport": "udp"}
    assert [report.metadata["transport"] for report in intake.reports] == ["udp", "tcp", "tcp", "tcp"]
    assert len({report.identity for report in intake.reports}) == 4, "equal lines are happenings of their own"
    assert listener.read == 4
    assert not intake.rejected


async def test_ipv6() -> None:
    async with running(host="::1") as (listener, intake):
        assert intake.health == [f"+listening on [::1]:{listener.port}, UDP and TCP"]
        send_udp(listener.port, LINE, host="::1")
        await send_tcp(listener.port, LINE, host="::1")
        await until(lambda: len(intake.reports) == 2)
    assert {report.metadata["sender"] for report in intake.reports} == {"::1"}


async def test_both_families_at_once() -> None:
    async with running(host="::", allowed_sources=("127.0.0.0/8", "::1")) as (listener, intake):
        send_udp(listener.port, LINE, host="::1")
        send_udp(listener.port, LINE, host="127.0.0.1")
        await send_tcp(listener.port, LINE, host="127.0.0.1")
        await until(lambda: len(intake.reports) == 3)
    assert not intake.rejected


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_one_protocol_only(protocol: str) -> None:
    async with running(protocols=(protocol,)) as (listener, intake):
        assert intake.health == [f"+listening on 127.0.0.1:{listener.port}, {protocol.upper()}"]
        other = socket.SOCK_STREAM if protocol == "udp" else socket.SOCK_DGRAM
        with socket.socket(socket.AF_INET, other) as free:
            free.bind(("127.0.0.1", listener.port))


@pytest.mark.skipif(shutil.which("logger") is None, reason="logger of util-linux is not installed")
@pytest.mark.parametrize("transport", ["--udp", "--tcp"])
@pytest.mark.parametrize("form", [("--rfc3164",), ("--rfc5424",), ("--rfc5424", "--octet-count")])
async def test_logger(transport: str, form: tuple[str, ...]) -> None:
    """A real sender. Its lines name this host, its tag and our text."""
    async with running() as (listener, intake):
        options = (transport, *form, "--server", "127.0.0.1", "--port", str(listener.port))
        text = "storage 'nas' is not online"
        sent = await asyncio.create_subprocess_exec(
            "logger", "--id=4242", "--tag", "pvestatd", "-p", "daemon.err", *options, "--", text
        )
        assert await sent.wait() == 0
        await until(lambda: intake.reports)
    (report,) = intake.reports
    assert (report.verdict.kind, report.verdict.severity) == ("storage.offline", "warning")
    assert report.verdict.node == socket.gethostname().partition(".")[0]
    assert text in report.verdict.message
    assert report.metadata["transport"] == transport.removeprefix("--")


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_the_lab_forwards(protocol: str) -> None:
    async with running() as (listener, intake), Lab(LabOptions(guests=12)) as lab:
        lab.fault("syslog-to", "127.0.0.1", listener.port, protocol)
        lab.fault("node-down", "pve2")
        lab.fault("node-down", "pve3")
        await until(lambda: any(report.verdict.kind == "quorum.lost" for report in intake.reports))
        sent = [one for one in lab.emitted if one.channel == "syslog"]
        await until(lambda: len(intake.reports) >= len(sent))
    kinds = {report.verdict.kind for report in intake.reports}
    assert {"quorum.lost", "corosync.link.down"} <= kinds
    assert {report.verdict.node for report in intake.reports if report.verdict.kind == "quorum.lost"} == {"pve1"}


async def test_strangers_are_counted_and_ignored() -> None:
    async with running(allowed_sources=("192.0.2.0/24",)) as (listener, intake):
        send_udp(listener.port, LINE, LINE)
        with contextlib.suppress(ConnectionError):
            await send_tcp(listener.port, LINE + b"\n")
        await until(lambda: intake.rejected["source not allowed"] == 3)
    assert intake.reports == []


async def test_beyond_loopback_it_asks_who_may_send() -> None:
    intake = Kept()
    async with running(intake, host="0.0.0.0") as (listener, _):  # noqa: S104 - that is the point
        (told,) = intake.health
        assert told.startswith("-EVENT_SYSLOG_LISTEN_HOST=0.0.0.0 is reachable")
        assert "EVENT_SYSLOG_ALLOWED_SOURCES" in told
        assert listener.port == 0


async def test_a_port_that_is_taken_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.sockets.FIRST", 0.05)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with running(port=port) as (_, intake):
            assert intake.health[0].startswith(f"-Another program listens at 127.0.0.1:{port}.")
            assert "EVENT_SYSLOG_LISTEN_PORT" in intake.health[0]
            taken.close()
            await until(lambda: intake.health[-1].startswith("+"))
            send_udp(port, LINE)
            await until(lambda: intake.reports)


async def test_an_address_that_is_not_here() -> None:
    async with running(host="192.0.2.7", allowed_sources=("192.0.2.0/24",)) as (_, intake):
        (told,) = intake.health
    assert told.startswith("-192.0.2.7 is no address of this machine.")
    assert "EVENT_SYSLOG_LISTEN_HOST" in told


PRIVILEGED = """
import asyncio
from mqtt_bridge.listeners.sockets import CannotListenError, Place, bind
try:
    asyncio.run(bind(Place("127.0.0.1", 514, "HOST", "EVENT_SYSLOG_LISTEN_PORT"), ["udp", "tcp"]))
except CannotListenError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux" or os.getuid() != 0, reason="gives up root's rights for this")
def test_port_514_without_privileges() -> None:
    without = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--reuid=65534", "--clear-groups"]
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv of util-linux is not installed")
    if subprocess.run([*without, sys.executable, "-c", ""], check=False, capture_output=True).returncode:
        pytest.skip("this Python cannot be run by another user")
    done = subprocess.run([*without, sys.executable, "-c", PRIVILEGED], check=True, capture_output=True, text=True)
    told = done.stdout
    assert told.startswith("Port 514 needs privileges")
    assert all(cure in told for cure in ("setcap cap_net_bind_service", "EVENT_SYSLOG_LISTEN_PORT", "AmbientCap"))


async def test_a_full_intake_loses_nothing() -> None:
    """TCP senders wait; what the kernel drops of UDP is counted."""
    async with running() as (listener, intake):
        listener._backlog._limits = (1000, 1 << 20)
        intake.gate.clear()
        count = 40_000
        stream = b"".join(LINE + b"x" * 500 + b" %d\n" % i for i in range(count))
        sending = asyncio.create_task(send_tcp(listener.port, stream))
        await until(lambda: listener._backlog.full)
        await asyncio.sleep(0.3)
        held = len(listener._backlog)
        assert held < 20_000, "reading stopped"
        assert not sending.done(), "the sender waits"
        for _ in range(20):
            send_udp(listener.port, *[LINE + b"x" * 4000] * 1000)
            await asyncio.sleep(0)
        assert len(listener._backlog) - held < 1000
        intake.gate.set()
        await sending
        await until(lambda: len(intake.reports) + intake.rejected["dropped by the kernel"] == count + 20_000, 60)
        numbers = [report.verdict.message for report in intake.reports if report.metadata["transport"] == "tcp"]
    assert len(numbers) == count
    assert [int(text.rsplit(" ", 1)[1]) for text in numbers] == list(range(count)), "in their order"
    assert intake.rejected["dropped by the kernel"] > 0
    assert max(intake.batches) <= 550


async def test_the_intake_is_asked_again() -> None:
    intake = Kept(trouble=[IntakeFullError("full"), JournalError("The disk is full."), IntakeFullError("full")])
    async with running(intake) as (listener, _):
        send_udp(listener.port, LINE)
        await until(lambda: intake.reports)
        await until(lambda: len(intake.health) == 3)
    assert intake.health[1:] == ["-The disk is full.", intake.health[0]]
    assert len(intake.reports) == 1


async def test_what_was_read_is_committed_at_the_end() -> None:
    intake = Kept()
    async with running(intake) as (listener, _):
        intake.gate.clear()
        send_udp(listener.port, *[LINE] * 3)
        await send_tcp(listener.port, LINE + b"\n" + LINE)
        await until(lambda: listener.read >= 4)
        asyncio.get_running_loop().call_later(0.2, intake.gate.set)
    assert len(intake.reports) == len({report.identity for report in intake.reports}) == 5


async def test_what_cannot_be_committed_at_the_end_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mqtt_bridge.listeners.syslog.FLUSH", 0.1)
    intake = Kept()
    async with running(intake) as (listener, _):
        intake.gate.clear()
        send_udp(listener.port, *[LINE] * 3)
        await until(lambda: listener.read == 3)
    assert intake.rejected == {"not committed before the end": 3}


async def test_one_message_that_brings_about_a_fault_of_ours_costs_only_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Strict(Kept):
        async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
            if any("the bad one" in report.verdict.message for report in reports):
                raise RuntimeError("a bug")
            await super().__call__(reports, cursors=cursors)

    intake = Strict()
    lines = [b"<29>Aug  8 20:22:01 pve1 app[1]: line %d" % number for number in range(100)]
    lines[40] = lines[60] = b"<29>Aug  8 20:22:01 pve1 app[1]: the bad one"
    async with running(intake) as (listener, _):
        intake.gate.clear()
        await send_tcp(listener.port, LINE + b"\n")
        await send_tcp(listener.port, b"\n".join(lines) + b"\n")
        await until(lambda: listener.read == 101)
        intake.gate.set()
        await until(lambda: len(intake.reports) == 99 and intake.rejected.total() == 2)
    assert intake.rejected == {"failed inside": 2}
    assert caplog.text.count("refused by mistake") == 1


@pytest.mark.parametrize(
    ("form", "refused"), [("auto", {}), ("rfc3164", {"not rfc3164": 1}), ("rfc5424", {"not rfc5424": 2})]
)
async def test_a_fixed_format(form: str, refused: dict[str, int]) -> None:
    new = b"<29>1 2026-08-08T20:22:01.000000-04:00 homelab2 pmxcfs 929 - - [status] notice: node lost quorum"
    async with running(parse_format=form) as (listener, intake):
        send_udp(listener.port, LINE, new, b"no priority at all")
        await until(lambda: len(intake.reports) + intake.rejected.total() == 3)
    assert intake.rejected == refused


async def test_slow_and_silent_connections_are_closed() -> None:
    limits = Limits(idle=0.5, unfinished=0.2)
    async with running(limits=limits) as (listener, intake):
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        silent, quiet = await asyncio.open_connection("127.0.0.1", listener.port)
        with contextlib.suppress(ConnectionError):
            for byte in LINE * 3:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.01)
                if intake.rejected["unfinished message"]:
                    break
        assert intake.rejected == {"unfinished message": 1}
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        await until(lambda: intake.reports)
        with contextlib.suppress(ConnectionError):
            assert await silent.read() == b""
        writer.close()
        quiet.close()


async def test_connections_are_limited() -> None:
    limits = Limits(connections=3, per_source=2)
    async with running(limits=limits, host="127.0.0.1") as (listener, intake):
        places = [await asyncio.open_connection("127.0.0.1", listener.port) for _ in range(2)]
        third, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        with contextlib.suppress(ConnectionError):
            assert await third.read() == b""
        assert intake.rejected == {"too many connections of one source": 1}
        more = [
            await asyncio.open_connection("127.0.0.1", listener.port, local_addr=("127.0.0.2", 0)) for _ in range(2)
        ]
        await until(lambda: intake.rejected["too many connections"] == 1)
        for _, each in (*places, *more, (None, writer)):
            each.close()
        await until(lambda: intake.rejected.total() == 2)
        await asyncio.sleep(0.05)
        await send_tcp(listener.port, LINE)
        await until(lambda: intake.reports)


async def test_a_hundred_thousand_malformed_lines() -> None:
    """Each is still a message; memory stays bounded while they come."""
    count = 100_000
    odd = [
        b"<999>",
        b"\xff\xfe\xfd%d",
        b"<13>1 - - - - - [",
        b"%s%n" * 20,
        b"<>",
        b"\x1b[31m",
        b"{" * 200,
        b"<1",
        b"  :",
    ]
    stream = b"".join(odd[i % len(odd)] + b"\n" for i in range(count))

    class Counting(Kept):
        total = 0

        async def __call__(self, reports: Sequence[Report], *, cursors: Mapping[str, str] | None = None) -> None:
            await asyncio.sleep(0)
            self.total += len(reports)

    intake = Counting()
    before, most = resident(), 0
    async with running(intake) as (listener, _):
        sending = asyncio.create_task(send_tcp(listener.port, stream))
        async with asyncio.timeout(90):
            while intake.total < count:
                most = max(most, resident())
                await asyncio.sleep(0.01)
        await sending
    assert most - before < 80_000_000
    assert not intake.rejected


def resident() -> int:
    """Bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) if sys.platform == "linux" else 0
    return pages * 4096


async def test_a_message_of_fifty_megabytes() -> None:
    async with running() as (listener, intake):
        tracemalloc.start()
        _, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"<13>")
        for _ in range(50):
            writer.write(b"x" * 1_000_000)
            await writer.drain()
        writer.write(b"\n" + LINE + b"\n")
        await writer.drain()
        await until(lambda: len(intake.reports) == 2)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        writer.close()
    assert peak < 8_000_000
    assert intake.reports[0].metadata["cut"] is True
    assert intake.rejected == {"end of a message over 8 KiB": 1}
    assert intake.reports[1].verdict.kind == "quorum.lost"


async def test_a_datagram_that_is_too_long_and_an_empty_one() -> None:
    async with running() as (listener, intake):
        send_udp(listener.port, LINE + b"y" * 20_000, b"", b" \r\n", LINE)
        await until(lambda: len(intake.reports) == 2)
        await until(lambda: intake.rejected.total() == 3)
    assert intake.rejected == {"end of a message over 8 KiB": 1, "empty": 2}
    assert [report.metadata.get("cut") for report in intake.reports] == [True, None]


async def test_random_bytes_over_both() -> None:
    dice = random.Random(7)  # noqa: S311 - no secret
    async with running() as (listener, intake):
        send_udp(listener.port, *[dice.randbytes(dice.randrange(1, 900)) for _ in range(2000)])
        for _ in range(20):
            await send_tcp(listener.port, dice.randbytes(50_000))
        await until(lambda: listener.read >= 2000 + 20)
        send_udp(listener.port, LINE)
        await until(lambda: any(report.verdict.kind == "quorum.lost" for report in intake.reports))
    assert len(intake.reports) + sum(intake.rejected.values()) >= listener.read


async def test_through_the_pipeline_into_the_journal() -> None:
    """Equal lines are events of their own, each once, and the numbers add up."""
    events = EventSettings(filters=Filters(kinds=("!noise",), rate_limit=0))
    async with Journal() as journal, Pipeline(journal, OneSite(), events) as pipeline:
        intake = pipeline.intake("SYSLOG")
        listener = SyslogListener(SyslogSettings(port=0))
        task = asyncio.create_task(listener.run(intake))
        await until(lambda: listener.port)
        noise = b"<30>Nov 09 03:00:22 pve3 pvedaemon[971]: worker 973 finished"
        await send_tcp(listener.port, b"".join([LINE + b"\n", noise + b"\n"] * 700))
        send_udp(listener.port, *[LINE] * 100)
        await until(lambda: intake.accepted + intake.filtered == 1500)
        task.cancel()
        await asyncio.wait([task])
        stored = await journal.recent(0, 5000)
    assert (intake.accepted, intake.filtered, len(stored)) == (800, 700, 800)
    assert {event.kind for event in stored} == {"quorum.lost"}
    assert len({event.correlation_id for event in stored}) == 1, "of one happening"
    assert intake.rejected == {}
