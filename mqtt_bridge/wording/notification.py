"""A titled text, whatever brought it, into a verdict: the readers in order, from what is surest to what is guessed."""

from collections.abc import Callable

from mqtt_bridge.wording import mdadm, smartd, system_mail, vzdump, zed
from mqtt_bridge.wording.notice import Notice
from mqtt_bridge.wording.proxmox_rules import TITLES, TYPES
from mqtt_bridge.wording.rules import by_text, by_title, node_of, verdict
from mqtt_bridge.wording.verdict import Verdict

_GOOD = ("info", "notice", "ok", "success")


def read(notice: Notice) -> Verdict:
    """The verdict; `system.mail` where no reader knows the text."""
    return next((found for reader in READERS if (found := reader(notice))), None) or system_mail.unknown(notice)


def recognized(notice: Notice) -> Verdict | None:
    """The verdict of the readers alone; None where only `system.mail` is left."""
    return next((found for reader in READERS if (found := reader(notice))), None)


def _titles(notice: Notice) -> Verdict | None:
    return by_title(TITLES, notice)


def _texts(notice: Notice) -> Verdict | None:
    return by_text(TITLES, notice)


def _declared(notice: Notice) -> Verdict | None:
    """By the field `type`, for a template whose texts are its own."""
    kind = TYPES.get(notice.type or "")
    if not kind:
        return None
    ends = "{end}" in kind
    ok = notice.severity in _GOOD if ends else None
    if kind in ("replication.failed", "certificate.renewal.failed"):
        ok = False
    return verdict(
        kind.format(end="finished" if ok else "failed"),
        notice,
        node=node_of(notice),
        ok=ok,
        fields={"datastore": notice.facts["datastore"]} if "datastore" in notice.facts else None,
    )


READERS: tuple[Callable[[Notice], Verdict | None], ...] = (
    _titles,
    vzdump.read,
    smartd.read,
    zed.read,
    mdadm.read,
    _texts,
    _declared,
    system_mail.known,
)
