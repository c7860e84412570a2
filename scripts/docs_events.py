"""`docs/events.md`: the event, its kinds with their severity, what is a duplicate, and how to try it."""

import re
from collections.abc import Iterator

from mqtt_bridge.wording.kinds import ok_of, severity_of

HEAD = """\
# Events

The table of kinds on this page is made from the code by `scripts/make_docs.py`.

Whatever Proxmox emits becomes one kind of event: on `proxmox/<site>/event/<severity>/<kind, dots as slashes>` (QoS 1,
not retained), in the retained list `proxmox/<site>/events` (the last 50), in the bridge's journal, and from there to
`get_events`, `proxmox-mcp watch` and `mqtt-bridge events`.

```json
{"id": "5f0c…", "kind": "backup.job.failed", "title": "Backup of guest 100 failed on pve1", "message": "…",
 "source": "WEBHOOK", "timestamp": "2026-11-20T03:00:12Z", "site": "lab", "node": "pve1", "guest": 100,
 "severity": "error", "ok": false, "trust": "authenticated", "metadata": {}, "context": {"name": "web01"},
 "correlation_id": "91aa…", "duplicate_of": null, "related": []}
```

`title`, `message` and `metadata` are text from outside: cleaned and capped, and data, never instructions.

## Ways in

| listener | what it takes | how | trust of its events |
| --- | --- | --- | --- |
| `WEBSOCKET` (on by default) | tasks, guests, nodes, quorum, storages, backups, HA, the cluster log | the live API watcher (Proxmox has no event WebSocket): [listeners-live.md](listeners-live.md) | `api` |
| `WEBHOOK` | notification targets Webhook and Gotify of Proxmox | [listeners-webhook.md](listeners-webhook.md) | `authenticated` with a token |
| `GOTIFY_IN` | what a Gotify server was sent | [listeners-webhook.md](listeners-webhook.md) | `authenticated` |
| `SMTP` | mail from Proxmox or a host's relay | [listeners-mail.md](listeners-mail.md) | `authenticated` with a login |
| `EMAIL` | a mailbox over IMAP | [listeners-mail.md](listeners-mail.md) | `unauthenticated` |
| `SYSLOG` | UDP and TCP | [listeners-syslog.md](listeners-syslog.md) | `unauthenticated` |
| `DISCORD_IN` | channels of Discord; also takes commands | [listeners-discord.md](listeners-discord.md) | `authenticated` for webhooks and bots |
| `METRICS` | Proxmox's InfluxDB metric server: figures, no events | [listeners-syslog.md](listeners-syslog.md) | |

One is switched on by its own `…_ENABLED=true` or by its name in `ENABLED_EVENT_LISTENERS`; a flag that says `false` wins.
Their health and counts are in `proxmox/bridge/<bridge>/info`, `/health` and `/metrics`; `proxmox-mcp check` tries each.

## Accepted means written down

A sender gets its 200, 250 or OK after the event is committed to the journal (`STATE_DIR/journal.db`, SQLite, synced to
disk); the cursor of a mailbox, a Gotify server, a task list moves in the same transaction. From there it goes to the
broker until that has acknowledged it: a crash, a dead broker, a restart lose nothing, and an event keeps its `id`.
When the journal cannot take more, senders are told so (503, 451, a TCP connection that is not read).

## One happening, many channels

A failed backup is told by its task, a mail, a webhook, Gotify and syslog. All of them are events, with one
`correlation_id`; those that only repeat it have `duplicate_of` (`EVENT_DUPLICATES=mark|drop|all`). A report is no
duplicate when its severity or outcome differs: a forged "backup successful" silences no failure. One that is trusted
more than all who said the same before is marked too, but never dropped, and notifiers tell it: a forged failure swallows
no real one. A report that names no node is of the node whose address it came from (webhooks, syslog); else it belongs to
the only happening that it fits, and where it fits several, to none.

## Kinds

"""

KINDS: tuple[tuple[str, str], ...] = (
    ("task.<type>.started", "a task began; `<type>` is Proxmox's (qmstart, vzdump, verificationjob, …)"),
    ("task.<type>.finished", "it ended with OK"),
    ("task.<type>.warning", "it ended with `WARNINGS: n`"),
    ("task.<type>.failed", "it ended otherwise; the end of its log is the message"),
    ("backup.job.started", "a backup job began"),
    ("backup.job.finished", "all of its guests were backed up"),
    ("backup.job.warning", "it ended with warnings"),
    ("backup.job.failed", "at least one guest was not"),
    ("backup.guest.started", "the backup of one guest began"),
    ("backup.guest.finished", "it is good"),
    ("backup.guest.failed", "it failed"),
    ("backup.stale", "a guest in a backup job has no backup younger than `EVENT_WS_BACKUP_MAX_AGE`"),
    ("backup.covered", "its backup is young enough again, or it is in a job"),
    ("backup.uncovered", "a guest is in no backup job any more"),
    ("replication.failed", "a replication job failed"),
    ("guest.started", "a guest runs"),
    ("guest.starting", "it is about to"),
    ("guest.stopped", "it stopped because somebody or something asked for it (`context.stopped_by`)"),
    ("guest.stopping", "it is about to"),
    ("guest.stopped.unexpected", "it stopped, and nobody asked for it"),
    ("guest.status.stopped", "Proxmox logged that it stopped"),
    ("guest.paused", "a VM is paused"),
    ("guest.suspended", "a VM is suspended to disk"),
    ("guest.resumed", "it runs again"),
    ("guest.migrated", "it is on another node"),
    ("guest.created", "a new guest"),
    ("guest.destroyed", "a guest is gone for good"),
    ("guest.start.failed", "it did not start"),
    ("guest.oom", "the node ran out of memory and killed it"),
    ("guest.agent.timeout", "its guest agent did not answer"),
    ("guest.qmp.timeout", "QEMU did not answer"),
    ("guest.qmp.failed", "QEMU refused a command"),
    ("node.online", "a node is back"),
    ("node.offline", "a node is lost"),
    ("node.fencing", "the HA manager is fencing a node"),
    ("node.fenced", "it has fenced it"),
    ("node.shutdown", "a node shuts down"),
    ("node.oom", "a node ran out of memory"),
    ("node.time.jump", "a node's clock jumped"),
    ("node.status", "a node said how it is"),
    (
        "node.status.slow",
        "a round of pvestatd, of the firewall or of the HA manager takes long, corosync got no processor",
    ),
    ("site.online", "a site's API answers again"),
    ("site.degraded", "it answers in part"),
    ("site.offline", "it does not answer"),
    ("quorum.lost", "the cluster lost its quorum"),
    ("quorum.ok", "it has it"),
    ("cluster.membership.changed", "nodes joined or left"),
    ("cluster.filesystem.error", "pmxcfs has a problem"),
    ("cluster.lock.timeout", "a lock of the cluster file system was not got"),
    ("corosync.link.down", "a link between nodes is down"),
    ("corosync.link.up", "it is up"),
    ("corosync.token.lost", "corosync's token did not come round"),
    ("ha.service.state", "the HA manager changed the state of a service"),
    ("ha.service.recovered", "it recovered a service on another node"),
    ("ha.service.stopping", "it stops a service"),
    ("ha.lrm.state", "a node's local resource manager changed its state"),
    ("watchdog.expiring", "a watchdog is about to reset a node"),
    ("watchdog.expired", "it did"),
    ("cgroup.oom", "a container or service ran out of its memory"),
    ("service.error", "a unit failed, or a service of Proxmox tells of an error that no other kind names"),
    ("storage.online", "a storage is reachable again"),
    ("storage.offline", "it is not reachable (`error` where its login was refused)"),
    ("storage.disabled", "it is disabled"),
    ("storage.status", "a daemon said how it is"),
    ("storage.usage.high", "it is fuller than `EVENT_WS_STORAGE_WARNING` (`error`: `EVENT_WS_STORAGE_ERROR`)"),
    ("storage.usage.ok", "it no longer is"),
    ("storage.nfs.unreachable", "an NFS server does not answer"),
    ("storage.zfs.degraded", "a pool lacks a device"),
    ("storage.zfs.suspended", "a pool takes no I/O any more"),
    ("storage.zfs.errors", "a pool has data errors"),
    ("storage.zfs.io", "a pool has I/O errors"),
    ("storage.zfs.missing", "a pool is not there"),
    ("storage.zfs.ok", "it is well again"),
    ("storage.zfs.scrub.finished", "a scrub ended without errors"),
    ("storage.zfs.resilver.finished", "a resilver ended"),
    ("storage.zfs.trim.finished", "a trim ended"),
    ("storage.md.degraded", "a software RAID lacks a device"),
    ("storage.md.warning", "mdadm warns"),
    ("disk.smart.failing", "a disk says that it fails"),
    ("disk.smart.ok", "it says so no longer, or is gone"),
    ("disk.smart.warning", "SMART found something"),
    ("disk.smart.attribute", "a SMART attribute changed"),
    ("disk.io.error", "a disk has I/O errors"),
    ("disk.temperature.high", "a disk is too warm"),
    ("disk.missing", "a node does not list a disk any more"),
    ("disk.found", "it is there again"),
    ("ceph.health.warn", "Ceph warns"),
    ("ceph.health.cleared", "it no longer does"),
    ("network.link.down", "a network card has no link"),
    ("network.link.up", "it has one"),
    ("network.nic.hang", "a network card hangs"),
    ("network.bridge.port", "a bridge's port changed its state"),
    ("firewall.dropped", "the firewall dropped or rejected a packet"),
    ("gc.finished", "garbage collection of a datastore ended well"),
    ("gc.failed", "it failed"),
    ("prune.finished", "pruning ended well"),
    ("prune.failed", "it failed"),
    ("sync.finished", "a sync job ended well"),
    ("sync.failed", "it failed"),
    ("verify.finished", "a verification ended well"),
    ("verify.failed", "backups are damaged or could not be verified"),
    ("verify.chunk.failed", "a chunk is damaged"),
    ("tape.backup.finished", "a tape backup ended well"),
    ("tape.backup.failed", "it failed"),
    ("tape.load.requested", "a tape is to be inserted"),
    ("datastore.error", "a datastore has a problem"),
    (
        "maintenance.started",
        "nothing about a site, node, guest or tag is told to people for a while (`metadata.until`)",
    ),
    ("maintenance.ended", "it is over before its time"),
    (
        "maintenance.evacuation.started",
        "the running guests of a node in maintenance are moved away (its name is in `metadata.target`)",
    ),
    ("maintenance.evacuation.finished", "all of them were"),
    ("maintenance.evacuation.incomplete", "some stay: the message says which and why"),
    ("site.shutdown.started", "a whole site is being shut down on command; what goes down with it is not told"),
    ("site.shutdown.done", "all that was to go down is down"),
    ("site.shutdown.failed", "something is still up (`metadata.not_down`): the message says what and why"),
    ("site.shutdown.aborted", "somebody ended it; the message says what is down already"),
    ("incident.acknowledged", "somebody takes care of what is wrong"),
    ("datastore.ok", "it no longer has"),
    ("certificate.expiring", "a node's certificate ends within 14 days"),
    ("certificate.renewal.failed", "it was not renewed"),
    ("update.available", "updates are pending"),
    ("auth.failed", "a login failed"),
    ("auth.succeeded", "a login succeeded"),
    ("notification.test", "the Test button of a notification target"),
    ("audit.action.done", "somebody had us do something, and it was seen to be done"),
    ("audit.action.started", "Proxmox accepted it, and its end was not seen"),
    ("audit.action.failed", "it failed"),
    ("audit.action.refused", "the policy, an approver or the state of things refused it"),
    ("audit.approval.requested", "something waits for an approval"),
    ("audit.approval.approved", "it was approved"),
    ("audit.approval.rejected", "it was rejected"),
    ("audit.approval.expired", "nobody decided in time"),
    ("audit.approval.stale", "its target changed meanwhile"),
    ("audit.approval.refused", "a decision did not count"),
    ("audit.file.shortened", "the audit file became shorter: somebody tampered with it"),
    ("bridge.events.held", "the rate limit held events back; counts by kind are in it"),
    ("system.mail", "a mail that no rule knows; severity by its text"),
    ("syslog.message", "a line that no rule knows; severity by its text"),
    ("noise", "routine chatter, left out by `EVENT_KINDS=!noise` unless you set that otherwise"),
)

FOOT = """
Proxmox's own priority of a log line decides nothing: it logs the loss of quorum as a notice.

## Try it

```
echo 'Aug  8 20:22:01 pve1 pmxcfs[929]: [status] notice: node lost quorum' | mqtt-bridge classify --channel syslog
mqtt-bridge classify --channel email < mail.eml       # what would you make of this mail?
mqtt-bridge events --since 24h --severity error       # what does the journal say?
proxmox-mcp watch                                     # live
```

`classify` also takes JSON lines `{"id", "channel", "raw"}` and answers with `{"id", "kind", "severity", "node", "guest",
"ok", "title"}` for each. Channels: email, zed, smartd, gotify, webhook, syslog, task, clusterlog, discord.

## Which events are kept

`EVENT_MIN_SEVERITY`, `EVENT_NODES`, `EVENT_GUESTS`, `EVENT_KINDS`, `EVENT_KEYWORDS` and `EVENT_RATE_LIMIT` hold for all
listeners; the same with a listener's prefix (`EVENT_SYSLOG_MIN_SEVERITY`) on top for that one. `!` before an entry excludes.
The journal keeps `JOURNAL_MAX_EVENTS`; what goes first is what the broker has, the least severe and oldest. Earlier events
than the retained 50 are asked for on `proxmox/bridge/<bridge>/request/history` ([topics.md](topics.md)).

The live watcher never tells of the past: its first start takes everything as it is. What happened while it, or a node, was
away is read from the task archives and told late, with the time at which it happened. Tasks of consoles and other routine
are not told when they start or end well.
"""


def events() -> str:
    """The page."""
    return HEAD + "".join(_rows()) + FOOT


def _rows() -> Iterator[str]:
    yield "| kind | severity | ok | what happened |\n| --- | --- | --- | --- |\n"
    for kind, text in KINDS:
        plain = re.sub("<[^>]*>", "x", kind)
        ok = {True: "yes", False: "no", None: ""}[ok_of(plain)]
        yield f"| `{kind}` | {severity_of(plain)} | {ok} | {text} |\n"


def documented(kind: str) -> bool:
    """Whether the page names this kind."""
    return any(re.fullmatch(re.sub(r"<[^>]*>", "[^.]+", name.replace(".", r"\.")), kind) for name, _ in KINDS)
