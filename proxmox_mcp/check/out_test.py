"""`proxmox-mcp check --send-test`: one test through each enabled notifier, and what the service answered."""

import asyncio
import socket
import time
import uuid

from mqtt_bridge import ways_out
from mqtt_bridge.model import utc
from mqtt_bridge.notifiers.notice import LaterError, Notice, Notifier, RefusedError
from mqtt_bridge.settings import Settings
from proxmox_mcp.check.findings import Finding

LIMIT = 60.0  # seconds for each; mail servers with filters take their time
_PARTLY = ": refused"  # in the answer of a notifier with several recipients


async def send_tests(settings: Settings, limit: float = LIMIT) -> list[Finding]:
    """All at once, straight to the services: no filter, no quiet hours, no bridge in between."""
    notifiers = ways_out.enabled(settings)
    if not notifiers:
        cure = "Enable one: ENABLED_NOTIFIERS=NTFY, and what docs/notifiers.md says of it."
        return [Finding("notifiers", "test", None, "no notifier is enabled, so no test was sent", cure)]
    return list(await asyncio.gather(*(_tried(one, limit) for one in notifiers)))


async def _tried(notifier: Notifier, limit: float) -> Finding:
    subject, began = f"notifier {notifier.name}", time.monotonic()
    try:
        async with asyncio.timeout(limit), notifier:
            sent = await notifier.send(_notice(notifier.name))
    except (LaterError, RefusedError) as error:
        return Finding(subject, "test sent", False, error.message, error.cure)
    except TimeoutError:
        return Finding(subject, "test sent", False, f"no answer within {limit:g} seconds", "It is overloaded or hangs.")
    answer = sent.answer or "accepted"
    if _PARTLY in answer:
        return Finding(subject, "test sent", False, f"not by everyone: {answer}", "Correct or remove who refuses.")
    return Finding(subject, "test sent", True, f"the service took it in {time.monotonic() - began:.1f} s: {answer}")


def _notice(name: str) -> Notice:
    text = f"`proxmox-mcp check --send-test` on {socket.gethostname()} sent this. Who reads it is reached by {name}."
    return Notice(str(uuid.uuid4()), "test", "Test of proxmox-mcp", text, "info", utc(time.time()) or "")
