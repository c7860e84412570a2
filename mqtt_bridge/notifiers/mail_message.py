"""A notice as a mail: headers by which people file it, mail servers leave it alone, and our listeners know it as ours.

Mails of one incident are one thread: `In-Reply-To` and `References` name the ones before, and the subject stays,
because several mail programs file by it. What changed is in the title, and in the preview beside the subject.
"""

import hashlib
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from email.utils import format_datetime, parseaddr

from mqtt_bridge.notifiers.notice import Notice
from mqtt_bridge.notifiers.render import look, text, tidy
from mqtt_bridge.notifiers.render_html import html
from mqtt_bridge.own_mail import MARK
from mqtt_bridge.wording.clean import one_line

_SUBJECT, _NAME = 160, 80  # characters; more is cut by what shows it
_NO_WORD = re.compile(r"[^A-Za-z0-9._-]+")
_DOMAIN = re.compile(r"[A-Za-z0-9.-]{1,200}")
_ADDRESS = re.compile(r"""(?P<user>[^\s<>@,;:"()\[\]\\]{1,64})@(?P<domain>[^\s<>@,;:"()\[\]\\]{1,255})""")
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9.]{1,80}@[A-Za-z0-9.-]{1,200}>")


@dataclass(frozen=True, slots=True)
class Mail:
    """`ref` is for the next mail of the thread; `utf8` tells that an address needs SMTPUTF8."""

    content: bytes
    ref: str
    utf8: bool


@dataclass(frozen=True, slots=True)
class Thread:
    """The first mail of an incident, the last one, and their subject. As text: `<first> <last> subject`."""

    first: str
    last: str
    subject: str

    @classmethod
    def read(cls, ref: str | None) -> "Thread | None":
        """None where it is not what we wrote: then a thread begins."""
        first, _, rest = (ref or "").partition(" ")
        last, _, subject = rest.partition(" ")
        if not (_MESSAGE_ID.fullmatch(first) and _MESSAGE_ID.fullmatch(last)):
            return None
        return cls(first, last, _for_a_header(subject, _SUBJECT))

    def __str__(self) -> str:
        return f"{self.first} {self.last} {self.subject}"


@dataclass(frozen=True, slots=True)
class Letterhead:
    """From whom and to whom. `sender` may be `Name <address>`; recipients are addresses, with or without a name."""

    sender: str
    recipients: tuple[str, ...]
    zone: tzinfo | None = field(default=None)

    @property
    def address(self) -> str:
        """The bare address of the sender."""
        return parseaddr(self.sender)[1]


def compose(notice: Notice, head: Letterhead) -> Mail:
    """The whole mail. The same notice has the same Message-ID whenever it is sent."""
    utf8 = not all(parseaddr(each)[1].isascii() for each in (head.sender, *head.recipients))
    message = EmailMessage(policy=(SMTPUTF8 if utf8 else SMTP).clone(cte_type="7bit"))
    own = _message_id(notice.id, head.address)
    thread = Thread.read(notice.previous)
    subject = thread.subject if thread and thread.subject else _subject(notice)
    message["From"] = _author(head.sender, tidy(notice).site)
    message["To"] = [_mailbox(each) for each in head.recipients]
    message["Subject"] = f"Re: {subject}" if thread else subject
    message["Date"] = format_datetime(datetime.now(UTC).astimezone(head.zone))
    message["Message-ID"] = own
    if thread:
        message["In-Reply-To"] = thread.last
        message["References"] = " ".join(dict.fromkeys((thread.first, thread.last)))
    for name, value in _marks(notice).items():
        message[name] = value
    message.set_content(text(notice, head.zone))
    message.add_alternative(html(notice, head.zone), subtype="html")
    return Mail(bytes(message), str(Thread(thread.first if thread else own, own, subject)), utf8)


def _subject(notice: Notice) -> str:
    tidied = tidy(notice)
    site = f"[{tidied.site}] " if tidied.site else ""
    return _for_a_header(f"{site}{look(notice).word}: {tidied.title}", _SUBJECT)


def _marks(notice: Notice) -> dict[str, str]:
    """For filters of people, for programs that answer mail, and for our own listeners."""
    kind = notice.events[0].kind if len(notice.events) == 1 else notice.kind
    marks = {
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        MARK: _word(notice.id),
        "X-Proxmox-MCP-Kind": _word(kind),
        "X-Proxmox-MCP-Severity": notice.severity,
        "X-Proxmox-MCP-Site": _word(notice.site),
        "X-Proxmox-MCP-Incident": _word(notice.incident),
    }
    urgent = {"Importance": "high", "X-Priority": "1"} if _urgent(notice) else {}
    return {name: value for name, value in marks.items() if value} | urgent


def _urgent(notice: Notice) -> bool:
    return notice.severity == "critical" and notice.kind in {"event", "update", "reminder"}


def _word(value: str) -> str:
    return _NO_WORD.sub("-", value)[:100].strip("-")


def _message_id(notice: str, sender: str) -> str:
    domain = sender.rpartition("@")[2]
    host = domain if _DOMAIN.fullmatch(domain) else "proxmox-mcp.invalid"
    return f"<{hashlib.sha256(notice.encode(errors='replace')).hexdigest()[:32]}.proxmox@{host}>"


def _author(sender: str, site: str) -> Address:
    return _mailbox(sender, f"Proxmox {site}".strip())


def _mailbox(written: str, name: str = "") -> Address:
    """Raises ValueError where it is no address; `name` is for one without."""
    given, address = parseaddr(written)
    found = _ADDRESS.fullmatch(address)
    if found is None or not written.isprintable():
        raise ValueError("no mail address")
    return Address(_for_a_header(given or name, _NAME), username=found["user"], domain=found["domain"])


def _for_a_header(text: str, limit: int) -> str:
    """The standard library decodes encoded words in what it is given, line ends in them too: here none stays one."""
    return one_line(text, limit).replace("=?", "= ?")
