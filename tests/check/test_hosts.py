import asyncio
import re
import socket
import time
from collections.abc import Callable
from email.utils import formatdate

import pytest

from mqtt_bridge.settings import load
from proxmox_mcp.check import passed, render, to_json
from proxmox_mcp.lab import Lab
from tests.check.support import Check, StartHost, short
from tests.support.https_host import Certificate, Request, Script, always, free_port, hang, make_certificate, ok, raw

REALMS = [{"type": "pve", "realm": "pve"}, {"type": "pam", "realm": "pam"}]


async def test_everything_right(lab: Lab, check: Check) -> None:
    found = await check(lab.env)
    assert found.failed == []
    assert passed(found.findings)
    for name in ("lab: 127.0.0.1", "lab: pve2", "pbs1: pbs1"):
        assert [f.ok for what in ("tcp", "tls", "api", "token") for f in found.all(name, what)] == [True] * 4
    assert "Proxmox VE 9.2" in found.one("lab: pve2", "token").detail
    assert "Backup Server" in found.one("pbs1", "token").detail
    (read,) = found.all("lab", "read")
    assert read.detail.startswith("2 nodes, 6 guests")
    assert len(found.all("lab", "privileges")) == 1, "rights are the cluster's: read once"
    assert lab.violations == []


async def test_no_secret_in_any_output(lab: Lab, check: Check) -> None:
    for more in ({}, {"PVE_CLUSTER_PRIMARY_TOKEN_VALUE": "wr0ng-value"}):
        found = (await check(lab.env | more)).findings
        for secret in (lab.token_value, "wr0ng-value"):
            assert secret not in render(found) + to_json(found)


async def test_wrong_token(lab: Lab, check: Check) -> None:
    found = await check(lab.env, PVE_CLUSTER_PRIMARY_TOKEN_VALUE="wrong")
    assert found.failed == ["lab: 127.0.0.1 token", "lab: pve2 token"]
    primary = found.one("lab: 127.0.0.1", "token")
    assert "does not accept the token root@pam!full" in primary.detail
    assert "PVE_CLUSTER_PRIMARY_TOKEN_VALUE" in primary.cure
    assert "those of PVE_CLUSTER_PRIMARY_" in found.one("lab: pve2", "token").cure
    assert found.all("lab", "read") == found.all("lab", "privileges") == []
    assert found.one("pbs1", "read").ok


async def test_nothing_listens(check: Check) -> None:
    found = await check(short(free_port()))
    assert found.failed == ["pve: 127.0.0.1 tcp"]
    assert "refused" in found.one("pve", "tcp").detail
    assert "PROXMOX_HOST" in found.one("pve", "tcp").cure
    for what in ("tls", "api", "token"):
        assert found.one("pve", what).ok is None
        assert found.one("pve", what).detail == "not tried, since tcp failed"


async def test_a_name_that_does_not_exist(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    found = await check(short(1, PROXMOX_HOST="pve.nowhere"), MCP_HTTP_HOST="127.0.0.1")
    assert found.failed == ["pve: pve dns"]
    assert "pve.nowhere cannot be resolved" in found.one("pve", "dns").detail
    assert "PROXMOX_HOST" in found.one("pve", "dns").cure


async def test_a_name_is_resolved(lab: Lab, check: Check) -> None:
    port = lab.env["PVE_CLUSTER_PRIMARY_HOST"].rpartition(":")[2]
    found = await check(lab.env, PVE_CLUSTER_PRIMARY_HOST=f"localhost:{port}")
    assert "127.0.0.1" in found.one("lab: localhost", "dns").detail
    assert found.failed == []


async def test_self_signed_shows_the_line_that_cures_it(lab: Lab, check: Check) -> None:
    env = lab.env | {"PVE_CLUSTER_PRIMARY_FINGERPRINT": ""}
    lab.requests.clear()
    found = await check(env)
    assert found.failed == ["lab: 127.0.0.1 tls"]
    tls = found.one("lab: 127.0.0.1", "tls")
    assert "self-signed" in tls.detail
    assert lab.requests.count(host="pve1") == 0, "nothing is sent to a host that is not known"
    line = re.search(r"(PVE_CLUSTER_PRIMARY_FINGERPRINT)=(\S+)", tls.cure)
    assert line is not None
    assert line[2] == lab.fingerprint
    assert (await check(env | {line[1]: line[2]})).failed == []


async def test_wrong_pin(lab: Lab, check: Check) -> None:
    lab.requests.clear()
    found = await check(lab.env, PVE2_FINGERPRINT="AB" * 32)
    assert found.failed == ["lab: pve2 tls"]
    tls = found.one("lab: pve2", "tls")
    assert f"shows {lab.fingerprint}" in tls.detail
    assert f"PVE2_FINGERPRINT={lab.fingerprint}" in tls.cure
    assert "somebody else" in tls.cure
    assert lab.requests.count(host="pve2") == 0


async def test_an_unchecked_certificate_is_no_success(lab: Lab, check: Check) -> None:
    found = await check(lab.env, PVE2_FINGERPRINT="", PVE2_VERIFY_SSL="false")
    assert found.failed == []
    tls = found.one("lab: pve2", "tls")
    assert tls.ok is None
    assert f"PVE2_FINGERPRINT={lab.fingerprint}" in tls.cure
    assert any("PVE2_VERIFY_SSL=false" in f.detail for f in found.all("settings", "note"))


async def test_a_certificate_for_another_name(
    check: Check, start: StartHost, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_certificate(tmp_path_factory.mktemp("other"), "pve1.elsewhere.lan")
    running = await start(always(ok(REALMS)), other)
    found = await check(short(running.port, other))
    assert found.failed == ["pve: 127.0.0.1 tls"]
    assert "PROXMOX_TLS_NAME=pve1.elsewhere.lan" in found.one("pve", "tls").cure
    found = await check(short(running.port, other), PROXMOX_TLS_NAME="pve1.elsewhere.lan")
    assert found.one("pve", "tls").ok is True


async def test_one_pin_is_not_proposed_for_hosts_with_common_keys(start: StartHost, check: Check) -> None:
    first, second = await start(always(ok(REALMS))), await start(always(ok(REALMS)))
    clusters = {
        "PVE_CLUSTERS": "site1",
        "SITE1_HOSTS": f"127.0.0.1:{first.port},127.0.0.1:{second.port}",
        "SITE1_USER": "a@pve!b",
        "SITE1_TOKEN_VALUE": "c",
    }
    found = await check(clusters)
    for tls in found.all("site1", "tls"):
        assert "SITE1_CA_FILE" in tls.cure
        assert "FINGERPRINT" not in tls.cure
    assert len(found.failed) == 2


async def _speak(first: bytes, *, close: bool = True) -> tuple[asyncio.Server, int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(first)
        if close:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    return server, server.sockets[0].getsockname()[1]


async def test_what_does_not_speak_tls(check: Check) -> None:
    server, port = await _speak(b"SSH-2.0-OpenSSH_9.9\r\n")
    async with server:
        found = await check(short(port))
    assert found.failed == ["pve: 127.0.0.1 tls"]
    assert "does not speak TLS" in found.one("pve", "tls").detail
    assert "8006" in found.one("pve", "tls").cure


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (raw(200, "OK", b"<html>router</html>", "text/html"), "HTTP status 200"),
        (raw(404, "Not Found"), "HTTP status 404"),
        (ok({"other": "product"}), "HTTP status 200"),
        (raw(302, "Found", Location="/login"), "HTTP status 302"),
        (raw(401, "Unauthorized"), "HTTP status 401"),
        (b"220 mail.example ESMTP\r\n\r\n", "not HTTP"),
    ],
)
async def test_another_product(check: Check, start: StartHost, answer: bytes, said: str) -> None:
    async def script(_: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer)
        await writer.drain()
        return False

    running = await start(script)
    found = await check(short(running.port, running.certificate))
    assert found.failed == ["pve: 127.0.0.1 api"]
    api = found.one("pve", "api")
    assert "no Proxmox" in api.detail
    assert said in api.detail
    assert "PROXMOX_HOST" in api.cure
    assert [request for request in running.requests if "authorization" in request.headers] == [], "no token was sent"


async def test_a_backup_server_where_pve_is_expected(lab: Lab, check: Check) -> None:
    port = lab.env["PBS1_HOST"].rpartition(":")[2]
    found = await check(lab.env, PVE_CLUSTER_PRIMARY_HOST=f"127.0.0.1:{port}")
    assert found.failed == ["lab: 127.0.0.1 api"]
    api = found.one("lab: 127.0.0.1", "api")
    assert "this is a Proxmox Backup Server" in api.detail
    assert "PBS_NODES" in api.cure


async def test_pve_where_a_backup_server_is_expected(lab: Lab, check: Check) -> None:
    found = await check(lab.env, PBS1_HOST=lab.env["PVE_CLUSTER_PRIMARY_HOST"])
    assert found.failed == ["pbs1: pbs1 api"]
    assert "this is a Proxmox VE" in found.one("pbs1", "api").detail


@pytest.mark.parametrize(("kind", "expected"), [("pve", None), ("pbs", "this is a Proxmox Backup Server")])
async def test_the_product_is_told_by_its_realms(
    check: Check, start: StartHost, kind: str, expected: str | None
) -> None:
    """As real hosts answer, which tell anyone their realms."""

    def script(request: Request) -> bytes:
        return ok([{"type": kind, "realm": kind}, {"type": "pam", "realm": "pam"}])

    running = await start(_by(script))
    api = (await check(short(running.port, running.certificate))).one("pve", "api")
    assert api.ok is (expected is None)
    assert expected is None or expected in api.detail


def _by(answer: Callable[[Request], bytes]) -> Script:
    async def script(request: Request, writer: asyncio.StreamWriter) -> bool:
        writer.write(answer(request))
        await writer.drain()
        return False

    return script


@pytest.mark.parametrize(("off", "word"), [(3600, "ahead of"), (-3600, "behind"), (5, None)])
async def test_clock(check: Check, start: StartHost, off: int, word: str | None) -> None:
    date = formatdate(time.time() + off, usegmt=True)
    running = await start(_by(lambda _: raw(200, "OK", b'{"data":[{"type":"pve"}]}', Date=date)))
    clocks = (await check(short(running.port, running.certificate))).all("pve", "clock")
    assert [f.ok for f in clocks] == ([None] if word else [])
    assert all(word is not None and word in f.detail for f in clocks)


async def test_a_hanging_host_ends_in_time_and_hides_no_other(
    lab: Lab, check: Check, start: StartHost, certificate: Certificate
) -> None:
    running = await start(hang)
    hanging = {
        "PVE_NODES": "stuck",
        "STUCK_HOST": f"127.0.0.1:{running.port}",
        "STUCK_USER": "a@pve!b",
        "STUCK_TOKEN_VALUE": "c",
        "STUCK_CA_FILE": str(certificate.path),
    }
    started = time.monotonic()
    found = await check(lab.env | hanging, limit=3.0)
    assert time.monotonic() - started < 20
    assert found.failed == ["stuck: stuck api"]
    assert "no answer within 3 seconds" in found.one("stuck", "api").detail
    assert found.one("stuck", "token").ok is None
    assert found.one("lab: pve2", "token").ok


async def test_a_host_that_hangs_before_tls(check: Check) -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        found = await check(short(server.sockets[0].getsockname()[1]), limit=0.5)
    assert found.failed == ["pve: 127.0.0.1 tls"]


async def test_the_api_hangs_once_the_token_comes(lab: Lab, check: Check) -> None:
    lab.fault("api-hang")
    found = await check(lab.env, limit=1)
    assert len(found.failed) == 3
    assert not passed(found.findings)


async def test_a_lonely_member_of_a_cluster_is_told(lab: Lab, check: Check) -> None:
    env = {
        "PVE_NODES": "pve1",
        "PVE1_HOST": lab.env["PVE_CLUSTER_PRIMARY_HOST"],
        "PVE1_USER": lab.user,
        "PVE1_TOKEN_NAME": lab.token_name,
        "PVE1_TOKEN_VALUE": lab.token_value,
        "PVE1_FINGERPRINT": lab.fingerprint,
    }
    note = (await check(env)).one("pve1", "cluster")
    assert note.ok is None
    assert "member of the cluster lab" in note.detail
    assert load(env, search=False).sites[0].clustered is False
