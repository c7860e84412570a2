"""The head of a mail: fields, encoded words (RFC 2047), parameters; within bounds that a library does not keep."""

import binascii
import re
from collections.abc import Mapping

from mqtt_bridge.wording.charset import decoded

HEAD_LIMIT = 128 * 1024
VALUE_LIMIT = 4000
_FIELD = re.compile(rb"([!-9;-~]{1,76})[ \t]*:[ \t]*(.*)", re.DOTALL)
_WORD = re.compile(r"=\?([^?\s*]{1,40})(?:\*[^?\s]{0,20})?\?([bBqQ])\?([^?\r\n]{0,4000})\?=")
_BETWEEN = re.compile(r"(\?=)[ \t\r\n]+(=\?[^?\s]{1,60}\?[bBqQ]\?)")
_KNOWN = frozenset(
    b"from to cc subject date received return-path delivered-to x-original-to message-id mime-version content-type "
    b"content-transfer-encoding auto-submitted reply-to sender dkim-signature authentication-results list-id "
    b"references in-reply-to arc-seal x-mailer user-agent precedence importance x-priority "
    b"content-language thread-topic".split()
)


def split_head(raw: bytes) -> tuple[dict[str, str], bytes]:
    """Header fields by lower-case name (the first of each; every `received`, joined) and the body.

    A text that does not begin with the fields of a mail is all body.
    """
    start = _start(raw)
    lines, position = _head_lines(raw, start)
    fields = [found for line in lines if (found := _FIELD.fullmatch(line))]
    if not any(found[1].lower() in _KNOWN or found[1].lower().startswith(b"x-") for found in fields):
        return {}, raw
    headers: dict[str, str] = {}
    for found in fields:
        name = found[1].decode("ascii").lower()
        value = unworded(decoded(found[2][:VALUE_LIMIT]))
        if name == "received":
            headers[name] = f"{headers[name]}\n{value}"[:VALUE_LIMIT] if name in headers else value
        else:
            headers.setdefault(name, value)
    return headers, raw[position:]


def _start(raw: bytes) -> int:
    """Behind blank lines and the `From ` line of a mailbox file."""
    start = 0
    while start < len(raw) and raw[start : start + 1] in b"\r\n \t":
        start += 1
    if raw[start : start + 5] in (b"From ", b">From"):
        end = raw.find(b"\n", start, start + 1000)
        return end + 1 if end >= 0 else len(raw)
    return start


def _head_lines(raw: bytes, start: int) -> tuple[list[bytes], int]:
    """Unfolded lines up to the first that is empty, or is no header field (some senders forget the empty line)."""
    lines: list[bytes] = []
    position, limit = start, min(len(raw), start + HEAD_LIMIT)
    while position < limit:
        end = raw.find(b"\n", position)
        end = len(raw) if end < 0 else end
        line = raw[position:end].rstrip(b"\r")
        if not line.strip():
            return lines, end + 1
        if line[:1] in b" \t" and lines:
            lines[-1] += b" " + line.strip()
        elif _FIELD.fullmatch(line):
            lines.append(line)
        else:
            return lines, position
        position = end + 1
    return lines, position


def unworded(value: str) -> str:
    """`value` with its encoded words read; characters split over two words come together again."""
    if "=?" not in value:
        return value
    parts: list[tuple[str, bytes | str]] = []
    position = 0
    joined = _BETWEEN.sub(r"\1\2", value)
    for found in _WORD.finditer(joined):
        if found.start() > position:
            parts.append(("", joined[position : found.start()]))
        parts.append((found[1].lower(), _octets(found[2].lower(), found[3])))
        position = found.end()
    parts.append(("", joined[position:]))
    return _put_together(parts)


def _octets(encoding: str, text: str) -> bytes:
    if encoding == "b":
        return unbase64(text.encode("ascii", "ignore"))
    return binascii.a2b_qp(text.replace("_", " ").encode("utf-8", "replace"), header=False)


def _put_together(parts: list[tuple[str, bytes | str]]) -> str:
    out: list[str] = []
    charset, held = "", b""
    for name, part in [*parts, ("", "")]:
        if held and (isinstance(part, str) or name != charset):
            out.append(decoded(held, charset))
            held = b""
        if isinstance(part, str):
            out.append(part)
        else:
            charset, held = name, held + part
    return "".join(out)


_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/]+")


def unbase64(octets: bytes) -> bytes:
    """What can be read of base64: foreign characters are skipped, a cut end is left out."""
    clean = _NOT_BASE64.sub(b"", octets)
    clean = clean[: len(clean) - 1] if len(clean) % 4 == 1 else clean
    return binascii.a2b_base64(clean + b"=" * (-len(clean) % 4))


def parameter(value: str, name: str) -> str | None:
    """`boundary` or `charset` of a Content-Type."""
    found = re.search(rf';\s*{name}\*?\s*=\s*(?:"([^"]{{1,200}})"|([^;\s"]{{1,200}}))', value, re.IGNORECASE)
    return (found[1] or found[2]) if found else None


_USERID = re.compile(r"\bby ([\w.-]{1,255}) \([^()]{0,60}from userid \d+\)")
_ADDRESS = re.compile(r"<?([\w.+-]{1,64})@([\w.-]{1,255})>?")
_BACKUP_SERVER = re.compile(r"Proxmox Backup Server - ([\w.-]{1,255})")
_LOCAL_DOMAINS = frozenset(
    [
        "lan",
        "local",
        "localdomain",
        "internal",
        "intern",
        "intranet",
        "home",
        "arpa",
        "private",
        "corp",
        "lab",
        "test",
        "invalid",
        "localnet",
        "domain",
    ]
)
_HOST_LABELS = 3


def sending_host(headers: Mapping[str, str]) -> str | None:
    """The host that a mail was made on, as its envelope tells; None where it may be any mail domain."""
    sender = headers.get("from", "")
    named = _BACKUP_SERVER.search(sender)
    if named:
        return named[1]
    handed_in = _USERID.findall(headers.get("received", ""))
    if handed_in:
        return str(handed_in[-1])
    address = _ADDRESS.search(sender)
    if address and address[1].lower() in ("root", "backup", "smartd", "zed", "proxmox", "pve") and _host(address[2]):
        return address[2]
    return None


def _host(domain: str) -> bool:
    """A bare name, a name in a local domain or below a public one; `example.com` may be anyone's."""
    labels = domain.lower().strip(".").split(".")
    return len(labels) == 1 or len(labels) >= _HOST_LABELS or labels[-1] in _LOCAL_DOMAINS


_BULK = re.compile(r"bulk|list|junk", re.IGNORECASE)
_MACHINES = re.compile(
    r"root|admin\w*|cron|daemon|mailer|postmaster|backup\w*|monitor\w*|alerts?|alarm|notif\w*|no-?reply|system|server"
    r"|nagios|icinga\d?|zabbix|zed|smartd|mdadm|logwatch|nut|ups\w*|nas|pve\w*|pbs\w*|proxmox\w*|logcheck|munin|wazuh"
    r"|fail2ban|prometheus|grafana|checkmk|cmk|watchdog|security|storage|apt\w*|unattended\S*|www-data|nobody",
    re.IGNORECASE,
)


def is_circular(headers: Mapping[str, str]) -> bool:
    """A mail that went to a list or to subscribers."""
    return "list-unsubscribe" in headers or "list-id" in headers or bool(_BULK.fullmatch(headers.get("precedence", "")))


def is_personal(headers: Mapping[str, str]) -> bool:
    """A mail that nothing shows to be a machine's: neither its address nor a mark that it was made automatically."""
    made = headers.get("auto-submitted", "no").lower().startswith("no") and "x-cron-env" not in headers
    address = _ADDRESS.search(headers.get("from", ""))
    return made and address is not None and not _MACHINES.fullmatch(address[1])
