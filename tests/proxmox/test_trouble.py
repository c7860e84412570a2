"""Hosts on a bad day."""

import asyncio
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Awaitable, Callable

import pytest

from mqtt_bridge.errors import ProtocolError, ProxmoxError, UnreachableError
from mqtt_bridge.proxmox import transport
from tests.proxmox.conftest import StartClient, StartHost
from tests.support.https_host import Certificate, HttpsHost, Request, always, hang, ok, raw

Writer = asyncio.StreamWriter


async def test_hanging_host(start: StartHost, client: StartClient) -> None:
    api = await client((await start(hang)).endpoint(), retry_attempts=1)

    started = time.monotonic()
    with pytest.raises(UnreachableError, match=r"pve1 \(127\.0\.0\.1:\d+\) did not answer GET /version in time"):
        await api.get("version", deadline=0.3)
    assert time.monotonic() - started < 10


async def drip_head(_: Request, writer: Writer) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def drip_body(_: Request, writer: Writer) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("script", [drip_head, drip_body])
async def test_drops_now_and_then_do_not_extend_the_deadline(
    start: StartHost, client: StartClient, script: Callable[[Request, Writer], Awaitable[None]]
) -> None:
    api = await client((await start(script)).endpoint(), retry_attempts=1)

    started = time.monotonic()
    with pytest.raises(UnreachableError, match="in time"):
        await api.get("version", deadline=0.4)
    assert time.monotonic() - started < 10
    # and the threads are free again
    for _ in range(8):
        with pytest.raises(UnreachableError, match="in time"):
            await api.get("nodes", "other", "status", deadline=0.1)


async def test_a_host_whose_threads_are_all_taken_is_busy(start: StartHost, client: StartClient) -> None:
    api = await client((await start(hang)).endpoint(), retry_attempts=1)
    others = [asyncio.create_task(api.get("version", deadline=60)) for _ in range(6)]
    await asyncio.sleep(0.2)

    with pytest.raises(UnreachableError, match="busy"):
        await api.get("version", deadline=0.2)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_a_cancelled_call_frees_its_thread(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    api = await client(host.endpoint(), retry_attempts=1)
    tasks = [asyncio.create_task(api.get("version", deadline=60)) for _ in range(6)]
    while len(host.requests) < 6:
        await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    host.script = always(ok("free"))
    assert await api.get("version", deadline=3) == "free"


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (raw(200, "OK", b"<!DOCTYPE html><html>login</html>", "text/html"), "HTML"),
        (raw(200, "OK", b"{broken"), "no valid JSON"),
        (raw(200, "OK", b""), "no valid JSON"),
        (raw(200, "OK", b'["data"]'), "JSON without data"),
        (raw(302, "Found", Location="https://127.0.0.1:1/steal"), "a redirect"),
        (raw(307, "Temporary Redirect", Location="/other"), "a redirect"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
    ],
)
async def test_not_a_proxmox_api(start: StartHost, client: StartClient, reply: bytes, what: str) -> None:
    async def once(_: Request, writer: Writer) -> bool:
        writer.write(reply)
        await writer.drain()
        return False

    host = await start(once)
    api = await client(host.endpoint())

    with pytest.raises(ProtocolError, match=what) as caught:
        await api.get("version")
    assert "8006" in caught.value.cure
    assert len(host.requests) == 1
    with pytest.raises(ProtocolError, match=what):
        await api.post("nodes", "a", "startall")
    assert len(host.requests) == 2


async def test_too_much(start: StartHost, client: StartClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", 1024**2)
    host = await start(always(ok("x" * 2 * 1024**2)))
    api = await client(host.endpoint())

    with pytest.raises(ProtocolError, match="more than 1 MiB"):
        await api.get("version")
    host.script = always(ok("small"))
    assert await api.get("version") == "small"


async def test_closed_in_the_middle_of_the_answer(start: StartHost, client: StartClient) -> None:
    async def half(_: Request, writer: Writer) -> bool:
        writer.write(ok("x" * 1000)[:500])
        await writer.drain()
        return False

    host = await start(half)
    api = await client(host.endpoint(), retry_attempts=2)

    with pytest.raises(UnreachableError, match="closed the connection"):
        await api.get("version")
    assert len(host.requests) == 2
    with pytest.raises(UnreachableError, match="may have been carried out"):
        await api.post("nodes", "a", "startall")
    assert len(host.requests) == 3


def closes_kept_connections(host: HttpsHost) -> Callable[[Request, Writer], Awaitable[bool | None]]:
    """Takes the second request on a connection and hangs up: what a race with the keep-alive time-out looks like."""

    async def script(request: Request, writer: Writer) -> bool | None:
        if request.number > 1:
            return False
        writer.write(ok(len(host.requests)))
        await writer.drain()
        return None

    return script


async def test_a_stale_connection_is_no_error_for_a_poll(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    host.script = closes_kept_connections(host)
    api = await client(host.endpoint())

    assert await api.get("version", purpose="poll") == 1
    assert await api.get("version", purpose="poll") == 3
    assert [each.number for each in host.requests] == [1, 2, 1]
    assert api.hosts[0].failures == 0


async def test_a_write_never_takes_a_kept_connection(start: StartHost, client: StartClient) -> None:
    host = await start(hang)
    host.script = closes_kept_connections(host)
    api = await client(host.endpoint())
    await api.get("version")

    for _ in range(3):
        await api.post("nodes", "a", "startall")

    posts = [each for each in host.requests if each.method == "POST"]
    assert [each.number for each in posts] == [1, 1, 1]


async def test_an_idle_connection_is_not_used_again(
    start: StartHost, client: StartClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = await start(always(ok(None)))
    api = await client(host.endpoint())
    await api.get("version")
    await api.get("version")
    assert host.connections == 1
    monkeypatch.setattr(transport, "MAX_IDLE", 0.05)
    await asyncio.sleep(0.1)
    await api.get("version")
    assert host.connections == 2


async def test_a_name_that_does_not_resolve(client: StartClient, certificate: Certificate) -> None:
    api = await client(HttpsHost(certificate, port=8006).endpoint(host="pve1.invalid"), retry_attempts=1)
    with pytest.raises(UnreachableError, match=r"pve1\.invalid:8006.*(resolved|in time)"):
        await api.get("version")


async def test_leaving_while_a_host_hangs(start: StartHost, client: StartClient) -> None:
    api = await client((await start(hang)).endpoint(), retry_attempts=1)
    call = asyncio.create_task(api.get("version", deadline=60))
    await asyncio.sleep(0.2)

    started = time.monotonic()
    await api.__aexit__(None, None, None)
    with pytest.raises(ProxmoxError):
        await call
    assert time.monotonic() - started < 15
    with pytest.raises(UnreachableError, match="not used any more"):
        await api.get("version", purpose="poll")


async def test_the_process_ends_while_a_host_hangs(start: StartHost) -> None:
    host = await start(hang)
    code = """
        import asyncio, sys, time
        from pathlib import Path
        from mqtt_bridge.proxmox.client import ProxmoxClient
        from mqtt_bridge.secret import Secret
        from mqtt_bridge.settings import ApiSettings, Endpoint, SiteSettings

        async def main():
            port, ca_file = int(sys.argv[1]), Path(sys.argv[2])
            pve = Endpoint("a", "127.0.0.1", port, "pve", "u@pve", "t", Secret("s"), ca_file=ca_file)
            async with ProxmoxClient(SiteSettings("s", "s", "pve", (pve,), False), ApiSettings()) as api:
                calls = [asyncio.create_task(api.get("version")) for _ in range(8)]
                await asyncio.sleep(1)
                print("leaving", time.time(), flush=True)
                for call in calls: call.cancel()

        asyncio.run(main())
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        textwrap.dedent(code),
        str(host.port),
        str(host.certificate.path),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONWARNINGS": "error"},
    )
    async with asyncio.timeout(20):
        out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, "")
    assert len(host.requests) == 6
    assert time.time() - float(out.split()[1]) < 2


def test_importing_the_client_is_cheap() -> None:
    code = "import sys, mqtt_bridge.proxmox.client; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert not loaded & {"requests", "urllib3", "proxmoxer", "aiohttp", "cryptography", "pydantic"}
