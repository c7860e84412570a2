"""How our own mail is told from Proxmox's: a notification that comes back in as an event would be told for ever."""

import re
from email.message import Message

MARK = "X-Proxmox-MCP-Notice"  # the header in every mail that we send; its value is the notice's id

_QUOTED = re.compile(rb"^[ >\t]{0,4}" + MARK.encode() + rb":", re.IGNORECASE | re.MULTILINE)
_DAEMONS = ("mailer-daemon@", "postmaster@")


def is_ours(head: Message, raw: bytes) -> bool:
    """A mail of ours, or a mail server's report that it could not deliver one: that quotes its header."""
    if head.get(MARK) is not None:
        return True
    return _is_report(head) and _QUOTED.search(raw) is not None


def _is_report(head: Message) -> bool:
    author = str(head.get("From", "")).casefold()
    return head.get_content_type() == "multipart/report" or any(daemon in author for daemon in _DAEMONS)
