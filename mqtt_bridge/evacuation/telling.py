"""An evacuation as events."""

import time
import uuid
from typing import Any

from mqtt_bridge.journal.journal import Journal
from mqtt_bridge.model import Event, utc
from mqtt_bridge.notifying.maintenance import SOURCE
from mqtt_bridge.wording.kinds import ok_of, severity_of


async def tell(journal: Journal, kind: str, site: str, node: str, title: str, text: str = "", **facts: Any) -> None:  # noqa: PLR0917 -- what an event has
    """Into the journal; raises JournalError.

    It is an event of the site, its node only named in it: the node's own are held back by the maintenance, and whoever
    is about to switch the node off has to know who is still there.
    """
    identity = str(uuid.uuid4())
    event = Event(
        id=identity,
        kind=kind,
        title=title,
        message=text,
        source=SOURCE,
        timestamp=utc(time.time()) or "",
        site=site,
        severity=severity_of(kind),
        ok=ok_of(kind),
        metadata={"scope": "node", "target": node, **facts},
        correlation_id=identity,
    )
    await journal.commit([event], {})
