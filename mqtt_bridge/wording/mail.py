"""Mail: notifications of Proxmox, of zed, smartd and mdadm, and any other mail of the system."""

from codecs import BOM_UTF8
from dataclasses import replace

from mqtt_bridge.wording import notification
from mqtt_bridge.wording.charset import as_bytes
from mqtt_bridge.wording.headers import is_circular, is_personal, sending_host
from mqtt_bridge.wording.mime import Letter, opened
from mqtt_bridge.wording.notice import Notice, moment
from mqtt_bridge.wording.verdict import Verdict


def read_mail(raw: str | bytes, now: float | None = None) -> Verdict:  # noqa: ARG001 -- a mail tells its year
    """The verdict on a mail or its body; of a forwarded mail on the inner one, if the outer says nothing."""
    letter = opened(as_bytes(raw).removeprefix(BOM_UTF8))
    notice, found = _notice(letter), None
    for inner in letter.inner:
        found = found or notification.recognized(_notice(inner))
    return _judged(found or notification.read(notice), notice)


def _judged(found: Verdict, notice: Notice) -> Verdict:
    """PVE 9's mail about a fencing reports the failed node; the one before it only that fencing begins."""
    reports = found.kind == "node.fencing" and found.ok is None and "trying to fence" in notice.title.casefold()
    return replace(found, ok=False) if reports else found


def _notice(letter: Letter) -> Notice:
    return Notice(
        title=letter.subject,
        text=letter.text,
        sender=sending_host(letter.headers),
        at=moment(letter.headers.get("date")),
        truncated=letter.truncated,
        circular=is_circular(letter.headers),
        personal=is_personal(letter.headers),
    )
