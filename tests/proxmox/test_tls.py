"""Whom the client believes, and what it says when it does not."""

import asyncio
from pathlib import Path

import pytest

from mqtt_bridge.errors import ProtocolError, TlsError, UnreachableError
from mqtt_bridge.proxmox import tls
from tests.proxmox.conftest import StartClient, StartHost
from tests.support.https_host import Certificate, always, free_port, ok


async def test_an_unknown_certificate_is_refused_with_its_fingerprint(
    start: StartHost, client: StartClient, certificate: Certificate
) -> None:
    host = await start(always(ok(None)))
    api = await client(host.endpoint(ca_file=None))

    with pytest.raises(TlsError, match="self-signed certificate") as caught:
        await api.get("version")
    assert caught.value.fingerprint == certificate.fingerprint
    assert f"_FINGERPRINT={certificate.fingerprint}" in caught.value.cure
    assert "pvenode cert info" in caught.value.cure
    assert host.requests == []


async def test_a_pin_is_the_verification(start: StartHost, client: StartClient, other_certificate: Certificate) -> None:
    host = await start(always(ok("pinned")), using=other_certificate)
    api = await client(host.endpoint(ca_file=None, fingerprint=other_certificate.fingerprint))

    assert await api.get("version") == "pinned"


@pytest.mark.parametrize("verify", [True, False])
async def test_another_certificate_than_the_pinned_one_is_refused(
    start: StartHost, client: StartClient, certificate: Certificate, other_certificate: Certificate, verify: bool
) -> None:
    host = await start(always(ok(None)), using=other_certificate)
    api = await client(host.endpoint(ca_file=None, verify=verify, fingerprint=certificate.fingerprint))

    with pytest.raises(TlsError, match="does not show the pinned certificate") as caught:
        await api.get("version")
    assert caught.value.fingerprint == other_certificate.fingerprint
    assert certificate.fingerprint in caught.value.message
    assert host.requests == []


async def test_the_name_is_checked(start: StartHost, client: StartClient, other_certificate: Certificate) -> None:
    host = await start(always(ok("named")), using=other_certificate)

    with pytest.raises(TlsError, match="not valid for '127.0.0.1'"):
        await (await client(host.endpoint(ca_file=other_certificate.path))).get("version")
    named = await client(host.endpoint(ca_file=other_certificate.path, tls_name="elsewhere.lan"))
    assert await named.get("version") == "named"
    with pytest.raises(TlsError, match="not valid for 'wrong.lan'"):
        await (await client(host.endpoint(ca_file=other_certificate.path, tls_name="wrong.lan"))).get("version")


async def test_without_verification_anything_goes(
    start: StartHost, client: StartClient, other_certificate: Certificate
) -> None:
    host = await start(always(ok("whoever")), using=other_certificate)
    assert await (await client(host.endpoint(ca_file=None, verify=False))).get("version") == "whoever"


async def test_a_wrong_certificate_is_passed_over_and_does_not_open_the_breaker(
    start: StartHost, client: StartClient, other_certificate: Certificate
) -> None:
    bad, good = await start(always(ok(None)), using=other_certificate), await start(always(ok("good")))
    api = await client(bad.endpoint("bad", ca_file=None), good.endpoint("good"))

    assert await api.post("nodes", "a", "startall") == "good"
    for _ in range(4):
        with pytest.raises(TlsError):
            await api.request("GET", "version", host="bad")
    assert api.hosts[0].state == "closed"


@pytest.mark.parametrize("content", [None, "not a certificate"])
async def test_a_ca_file_that_cannot_be_used(
    start: StartHost, client: StartClient, tmp_path: Path, content: str | None
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    host = await start(always(ok(None)))
    api = await client(host.endpoint(ca_file=path))

    with pytest.raises(TlsError, match=r"CA file .*ca\.pem of pve1 cannot be used"):
        await api.get("version")
    if content is None:
        path.write_bytes(host.certificate.path.read_bytes())
        await api.get("version")


async def test_plain_http(client: StartClient, start: StartHost) -> None:
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        host = await start(always(ok(None)))
        api = await client(host.endpoint(port=server.sockets[0].getsockname()[1]), retry_attempts=1)
        with pytest.raises((ProtocolError, UnreachableError), match="not TLS|closed|No connection"):
            await api.get("version")


async def test_no_fingerprint_of_nothing(start: StartHost) -> None:
    host = await start(always(ok(None)))
    assert tls.shown_fingerprint(host.endpoint(port=free_port()), timeout=1) == ""
