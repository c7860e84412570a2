"""Whose mail it is: in a mailbox, other people's mail lies beside Proxmox's, and is left alone."""

from collections.abc import Callable, Sequence
from email.message import Message
from fnmatch import fnmatchcase

from mqtt_bridge.listeners.mail_report import sender, text_of
from mqtt_bridge.wording.verdict import Verdict

UNKNOWN = "system.mail"  # the kind of a mail that no rule of wording knows

_AUTHORS = ("proxmox ve", "proxmox backup server", "proxmox mail gateway", "proxmox datacenter manager", "vzdump")
_LAYOUT = "----_=_nextpart_002_"  # the boundary of Proxmox's own multipart mails
_DAEMONS = frozenset({"root", "zed", "smartd", "mdadm", "cron", "nut", "upsmon", "zfs"})


def nobody(host: str) -> bool:
    """No host is known."""
    del host
    return False


class Whose:
    """`senders` are globs of addresses; `knows_host` tells whether a host's name, short or long, is a node's."""

    def __init__(self, senders: Sequence[str] = (), knows_host: Callable[[str], bool] = nobody) -> None:
        self._senders = tuple(pattern.casefold() for pattern in senders)
        self._knows_host = knows_host

    def proxmox(self, head: Message, verdict: Verdict) -> bool:
        """A mail that wording knows, from someone who is no person answering; or one from a host's own daemons."""
        name, address = sender(head)
        if any(fnmatchcase(address, pattern) for pattern in self._senders):
            return True
        if self._from_a_host(name, address, head):
            return True
        return verdict.kind != UNKNOWN and not _an_answer(head)

    def _from_a_host(self, name: str, address: str, head: Message) -> bool:
        user, _, host = address.rpartition("@")
        if user in _DAEMONS and (self._knows_host(host) or self._knows_host(host.partition(".")[0])):
            return True
        return user == "root" and (
            name.casefold().startswith(_AUTHORS) or _LAYOUT in text_of(head, "Content-Type").lower()
        )


def _an_answer(head: Message) -> bool:
    """A person who answers or forwards quotes what Proxmox wrote."""
    return bool(head.get("In-Reply-To") or head.get("References") or head.get("List-Id"))
