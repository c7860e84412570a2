"""What Proxmox VE and Backup Server write in notifications, since PVE 4 and PBS 1, as rows.

Sources: the templates of pve-manager, pve-ha-manager and proxmox-backup (`templates/default/*.hbs`), and before them
PVE/VZDump.pm, PVE/API2/Replication.pm, PVE/HA/NodeStatus.pm, PVE/API2/APT.pm and server/email_notifications.rs.
Titles may stand within others (`Fwd:`, `[SPAM]`, a template's own words), so they are searched, not matched.
"""

import re
from collections.abc import Mapping

from mqtt_bridge.wording.rules import Rule

_C = re.compile
_I = re.IGNORECASE
_M = re.MULTILINE
_Q = r"['\"‘’“”`]?"  # quotes, also as mail programs and chats rewrite them
_NAME = rf"{_Q}(?P<node>[\w.-]{{1,255}}){_Q}"
_STORE = rf"{_Q}(?P<datastore>[\w.-]{{1,100}}){_Q}"
_END = r"(?P<result>successful|failed)"
_LINE = r"^[ \t>*`]{0,12}"

FENCING = (
    Rule(
        "node.fenced",
        _C(rf"(?:Successfully fenced node|fenc\w{{1,5}}: acknowledged - got agent lock for node) {_NAME}", _I),
        _C(rf"fenc\w{{1,5}}: acknowledged - got agent lock for node {_NAME}", _I),
        ok=True,
    ),
    Rule("node.fenced", None, _C(rf"HA manager successfully fenced {_NAME}", _I), ok=True),
    Rule("node.fencing", _C(rf"Try(?:ing)? to fence node {_NAME}", _I), _C(rf"Try to fence node {_NAME}", _I)),
    Rule("node.fencing", None, _C(rf"HA manager will now fence {_NAME}", _I)),
)

JOBS = (
    Rule(
        "replication.failed",
        _C(rf"Replication Job: {_Q}(?P<job>(?P<guest>[1-9]\d{{2,8}})-\d{{1,9}}){_Q} failed", _I),
        _C(
            rf"{_LINE}Replication job {_Q}(?P<job>(?P<guest>[1-9]\d{{2,8}})-\d{{1,9}}){_Q} with target "
            rf"{_Q}(?P<target>[\w.-]{{1,255}}){_Q} and schedule .{{1,200}} failed",
            _I | _M,
        ),
        ok=False,
    ),
    Rule(
        "gc.{end}",
        _C(rf"Garbage Collect(?:ion)? (?:for |of |on )?Datastore {_STORE} {_END}", _I),
        _C(rf"{_LINE}Garbage collection {_END}(?:\.|: (?P<error>.{{0,400}})|$)", _I | _M),
    ),
    Rule(
        "prune.{end}",
        _C(rf"Prun(?:e|ing) datastore {_STORE} {_END}", _I),
        _C(rf"{_LINE}Pruning {_END}(?:\.|: (?P<error>.{{0,400}})|$)", _I | _M),
    ),
    Rule(
        "sync.{end}",
        _C(
            rf"Sync (?:local|(?:from |to )?remote {_Q}(?P<remote>[\w.-]{{1,100}}){_Q}) datastore "
            rf"{_Q}(?P<remote_datastore>[\w.-]{{1,100}}){_Q} {_END}",
            _I,
        ),
        _C(rf"{_LINE}Synchronization {_END}(?:\.|: (?P<error>.{{0,400}})|$)", _I | _M),
    ),
    Rule(
        "verify.{end}",
        _C(rf"Verify Datastore {_STORE} {_END}", _I),
        _C(rf"{_LINE}Verification {_END}(?:\.|: (?P<error>.{{0,400}})| on these (?:snapshots|groups)|$)", _I | _M),
    ),
    Rule(
        "tape.backup.{end}",
        _C(rf"Tape Backup (?:job )?(?:{_Q}(?P<job>[\w.-]{{1,100}}){_Q} )?datastore {_STORE} {_END}", _I),
        _C(rf"{_LINE}Tape Backup {_END}(?:\.|: (?P<error>.{{0,400}})|$)", _I | _M),
    ),
    Rule(
        "tape.load.requested",
        _C(
            rf"Load Media {_Q}(?P<media>[^'\"\n]{{1,60}}?){_Q} "
            rf"(?:request for (?:drive|changer) |into (?:drive|changer) ){_Q}(?P<drive>[\w.-]{{1,60}}){_Q}",
            _I,
        ),
        _C(r"Please insert the (?:requested|correct) media into the (?:backup drive|changer|tape drive)", _I),
    ),
    Rule(
        "certificate.renewal.failed",
        _C(r"Could not renew (?:\w+ )?certificate|certificate renewal failed", _I),
        _C(r"was not able to renew a (?:TLS|SSL) certificate(?:.{0,5}\n\s*\n?Error: (?P<error>.{1,400}))?", _I),
        ok=False,
    ),
)

NEWS = (
    Rule(
        "update.available",
        _C(rf"New software packages available(?: \({_NAME}\))?", _I),
        _C(
            rf"{_LINE}(?:Proxmox (?:Backup Server|VE|Mail Gateway|Datacenter Manager) has )?"
            r"the following updates (?:are )?available:",
            _I | _M,
        ),
    ),
    Rule(
        "notification.test",
        _C(
            r"^\W{0,5}(?:(?:Fwd?|WG|TR|AW|RE|SV)\W{1,3})?(?:\[[^\]\n]{1,40}\]\s{0,3})?Test notification\W{0,5}$",
            _I | _M,
        ),
        _C(r"This is a test of the notification target", _I),
        sender=False,
    ),
)

TITLES = (*FENCING, *JOBS, *NEWS)

TYPES: Mapping[str, str] = {
    "vzdump": "backup.job.{end}",
    "replication": "replication.failed",
    "fencing": "node.fencing",
    "package-updates": "update.available",
    "gc": "gc.{end}",
    "prune": "prune.{end}",
    "sync": "sync.{end}",
    "verify": "verify.{end}",
    "verification": "verify.{end}",
    "tape-backup": "tape.backup.{end}",
    "tape-load": "tape.load.requested",
    "acme": "certificate.renewal.failed",
    "test": "notification.test",
}
"""Kinds by the field `type`, for a template that sends neither title nor text, or texts of its own."""
