"""Waiting for tasks."""

import asyncio
import time

import pytest

from mqtt_bridge.errors import ForbiddenError, NotFoundError, UnknownTargetError
from mqtt_bridge.proxmox.client import TaskProgress
from mqtt_bridge.proxmox.tasks import is_ok, warnings_of
from tests.proxmox.conftest import StartClient, StartHost
from tests.support.https_host import HttpsHost, Request, Script, always, hang, ok, raw, refusal

UPID = "UPID:pve1:0000C3A1:0012D687:68D88F00:qmstart:100:bridge@pve!mqtt:"
PBS_UPID = r"UPID:pbs:0000031B:000004F6:00000A13:68D88F00:prunejob:nas\x2dbackups:root@pam:"
Writer = asyncio.StreamWriter


def task(host: HttpsHost, looks: int, exitstatus: str, log: list[str]) -> Script:
    """Runs for `looks` looks, then ends."""

    async def script(request: Request, writer: Writer) -> None:
        if request.path.endswith("/status"):
            seen = sum(each.path.endswith("/status") for each in host.requests)
            running = {"status": "running", "upid": UPID}
            writer.write(ok(running if seen <= looks else running | {"status": "stopped", "exitstatus": exitstatus}))
        else:
            query = dict(request.query)
            start = int(query["start"])
            lines = [{"n": i + 1, "t": text} for i, text in enumerate(log)][start : start + int(query["limit"])]
            writer.write(ok(lines or [{"n": 1, "t": "no content"}], total=len(log)))
        await writer.drain()

    return script


async def test_until_it_ends(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    host.script = task(host, 2, "OK", [])
    api = await client(host.endpoint())

    outcome = await api.wait_task(UPID, timeout=10)

    assert (outcome.finished, outcome.ok, outcome.exitstatus, outcome.log_tail) == (True, True, "OK", ())
    assert {each.path for each in host.requests} == {f"/nodes/pve1/tasks/{UPID}/status"}
    assert len(host.requests) == 3


async def test_a_failure_brings_the_end_of_its_log(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    host.script = task(host, 0, "VM is locked (backup)", [f"line {i}" for i in range(1200)])
    api = await client(host.endpoint())

    outcome = await api.wait_task(UPID, timeout=10)

    assert (outcome.finished, outcome.ok, outcome.exitstatus) == (True, False, "VM is locked (backup)")
    assert outcome.log_tail == tuple(f"line {i}" for i in range(1180, 1200))


async def test_warnings_are_a_success_with_a_number(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    host.script = task(host, 0, "WARNINGS: 3", [])
    outcome = await (await client(host.endpoint())).wait_task(UPID, timeout=10)
    assert (outcome.ok, outcome.warnings) == (True, 3)


@pytest.mark.parametrize(
    ("exitstatus", "ok_", "warnings"),
    [
        ("OK", True, 0),
        ("WARNINGS: 12", True, 12),
        ("WARNINGS: many", False, 0),
        ("interrupted", False, 0),
        (None, False, 0),
    ],
)
def test_exit_status(exitstatus: str | None, ok_: bool, warnings: int) -> None:
    assert (is_ok(exitstatus), warnings_of(exitstatus)) == (ok_, warnings)


async def test_progress_tells_the_newest_line(start: StartHost, client: StartClient) -> None:
    log = ["starting"]
    host = await start(hang)
    host.script = task(host, 3, "OK", log)
    api = await client(host.endpoint())
    told: list[TaskProgress] = []

    async def progress(update: TaskProgress) -> None:
        told.append(update)
        log.append(f"step {len(told)}")

    await api.wait_task(UPID, timeout=10, on_progress=progress)

    assert [each.line for each in told] == ["starting", "step 1", "step 2"]
    assert told[0].elapsed < told[-1].elapsed
    starts = [dict(each.query)["start"] for each in host.requests if each.path.endswith("/log")]
    assert starts == ["0", "1", "2"]


async def test_time_is_up(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    host.script = task(host, 10_000, "OK", [])
    api = await client(host.endpoint())

    started = time.monotonic()
    outcome = await api.wait_task(UPID, timeout=0.5)
    assert (outcome.finished, outcome.ok, outcome.exitstatus) == (False, False, None)
    assert 0.5 <= time.monotonic() - started < 10
    assert len(host.requests) < 6


async def test_it_survives_what_happens_to_the_hosts(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    good = task(host, 0, "OK", [])
    troubles = [always(raw(596, "Connection timed out")), always(raw(200, "OK", b"<html>")), always(raw(503, "x"))]

    async def script(request: Request, writer: Writer) -> bool | None:
        count = len(host.requests)
        if count == 4:
            return False
        chosen = troubles[count - 1] if count <= len(troubles) else good
        await chosen(request, writer)
        return None

    host.script = script
    outcome = await (await client(host.endpoint())).wait_task(UPID, timeout=10)
    assert outcome.ok
    assert len(host.requests) == 5


async def test_what_will_not_change_is_raised(start: StartHost, client: StartClient) -> None:
    host = await start(always(refusal(400, "Parameter verification failed.", {"upid": "no such task"})))
    api = await client(host.endpoint())
    with pytest.raises(NotFoundError, match="no such task"):
        await api.wait_task(UPID, timeout=10)
    host.script = always(refusal(403, "Permission check failed (/nodes/pve1, Sys.Audit)"))
    with pytest.raises(ForbiddenError):
        await api.wait_task(UPID, timeout=10)
    with pytest.raises(UnknownTargetError, match="not a task id"):
        await api.wait_task("UPID:nonsense", timeout=10)


async def test_a_backup_server_is_localhost(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    host.script = task(host, 0, "OK", [])
    api = await client(host.endpoint(kind="pbs"))

    assert (await api.wait_task(PBS_UPID, timeout=5)).ok
    assert host.requests[0].path == f"/nodes/localhost/tasks/{PBS_UPID.replace(chr(92), '%5C')}/status"


async def test_log(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    host.script = task(host, 0, "OK", ["a", "b", "c"])
    api = await client(host.endpoint())

    assert await api.task_log(UPID) == (("a", "b", "c"), 3)
    assert await api.task_log(UPID, start=1, limit=1) == (("b",), 3)
    host.script = task(host, 0, "OK", [])
    assert await api.task_log(UPID) == ((), 0)
