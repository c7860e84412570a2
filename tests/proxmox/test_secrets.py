"""The token and what is sent with it appear in no exception, nor in what it wraps, nor in a log."""

import asyncio
import logging
import traceback
from collections.abc import Iterator

import pytest

from mqtt_bridge.errors import ProxmoxError
from tests.proxmox.conftest import StartClient, StartHost
from tests.support.https_host import TOKEN, Request, always, free_port, hang, ok, raw, refusal

PASSWORD = "hunter2-of-the-guest"


def linked(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    todo = [error]
    while todo:
        each = todo.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        todo += [each.__cause__, each.__context__, getattr(each, "reason", None)]
        todo += [arg for arg in each.args if isinstance(arg, BaseException)]


async def echo(request: Request, writer: asyncio.StreamWriter) -> None:
    """A host that sends back what it was sent."""
    writer.write(
        refusal(500, f"do not know {request.headers['authorization']}", {"x": request.headers["authorization"]})
    )
    await writer.drain()


async def hang_up(*_: object) -> bool:
    return False


@pytest.mark.parametrize(
    "script",
    [
        always(raw(401, "Authentication failed!")),
        always(refusal(403, "Permission check failed (/vms/100, VM.PowerMgmt)")),
        always(refusal(500, "VM is locked (backup)")),
        always(refusal(400, "Parameter verification failed.", {"vmid": "no"})),
        always(raw(595, "No route to host")),
        always(raw(200, "OK", b"<html>")),
        always(raw(302, "Found", Location="https://127.0.0.1/")),
        hang_up,
        hang,
        echo,
        None,
    ],
)
async def test_no_secret_in_any_error(
    start: StartHost, client: StartClient, script: object, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    host = await start(script or always(ok(None)))
    endpoint = host.endpoint() if script else host.endpoint(port=free_port())
    api = await client(endpoint, retry_attempts=1)

    with pytest.raises(ProxmoxError) as caught:
        await api.post("nodes", "a", "qemu", 100, "config", cipassword=PASSWORD, deadline=0.5)
    with pytest.raises(ProxmoxError) as read:
        await api.get("version", deadline=0.5)

    for error in (caught.value, read.value):
        texts = [text for each in linked(error) for text in (str(each), repr(each), str(vars(each)))]
        texts.append("".join(traceback.format_exception(error)))
        for each in linked(error):
            request = getattr(each, "request", None)
            texts.append(str(getattr(request, "headers", "")))
        everything = "\n".join(texts)
        assert PASSWORD not in everything
        assert TOKEN not in everything
    assert not [each for each in caplog.messages if TOKEN in each or PASSWORD in each]
    shown = f"{api.hosts!r} {api._hosts[0]._transport!r} {api.site!r}"
    assert TOKEN not in shown
