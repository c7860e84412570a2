"""`docs/homeassistant.md`: its text, and the entities from their tables."""

from collections.abc import Iterator

from mqtt_bridge.homeassistant.entity import Entity
from mqtt_bridge.homeassistant.thing import ROWS

HEAD = """\
# Home Assistant

This page is made by `scripts/make_docs.py`.

With Home Assistant on the same broker there is nothing to configure: `HA_DISCOVERY` is true, and every cluster
(or standalone host, or Backup Server), node, guest, storage, datastore, physical disk and ZFS pool appears as a
device, linked to what it is part of. Home Assistant 2024.12 or newer is needed (device-based MQTT discovery); tested
on 2025.4 and 2026.11.

## Set up

Step by step, with the dashboard, the recorder, access lists and what comes from other integrations:
[homeassistant-setup.md](homeassistant-setup.md). In short:

- **The Mosquitto add-on, or any Mosquitto 2.** Make a user for this program in Home Assistant (the add-on knows Home
  Assistant's users) and write `MQTT_HOST`, `MQTT_USERNAME` and `MQTT_PASSWORD` (docs/configuration.md). An access
  list ready to copy: [mosquitto.acl](mosquitto.acl).
- **No broker yet.** Without `MQTT_HOST` this program starts one of its own; `MQTT_EMBEDDED_BIND` opens it to your
  network, with a user `homeassistant` whose password is in STATE_DIR. Enter it in Home Assistant's MQTT integration.
- **Another discovery prefix** in Home Assistant's MQTT integration: the same in `HA_DISCOVERY_PREFIX`.
- Its own guests, the broker and Home Assistant may run on the cluster that they watch: name them in
  `PROXMOX_SELF_GUESTS`, and nothing stops them without an approval.

## What can be switched

Switches and buttons exist only when MQTT commands are on (`MQTT_COMMANDS=true` is the level `operate`; `MQTT_ALLOW`
goes further), for what the level, the allow-lists and the protected tags and pools admit, and for what the token may
do. Each press is a JSON command with an id of its own and the time: if it is refused because of the time, set both
clocks (NTP). What needs an approval waits for one; `Pending approvals` of the cluster counts and lists them.

A switch shows what is, not what was wished: after a failed action it goes back.

`Maintenance` of a node or of a whole site holds back what people are told ([notifiers.md](notifiers.md)). It ends when
it is switched off, after 24 hours by itself.

With `MAINTENANCE_EVACUATE=true` and `MQTT_ALLOW=change` the switch of a node also migrates its running guests away, one
after the other. `Evacuation` of the node says how far that is: `idle`, `running`, `done`, or `incomplete`; its
attributes name who `moved` and who is `left` with why. Nothing is forced, and nothing is brought back when it is
switched off ([commands.md](commands.md#evacuation)).

With `SITE_SHUTDOWN=true` and `MQTT_ALLOW=destroy` a site also has `Shutdown`, which says how far one has come (what is
up yet, and what it leaves out, in its attributes), `Abort shutdown`, and, disabled, `Shut down site`:
[shutdown.md](shutdown.md).

## Which entities

Few are on at first. The others are there, disabled: switch them on at the device's page. `HA_ENTITIES` decides
before a device is first discovered: entries `kind/key` or `kind/thing/key` with globs, comma separated; the last one
that fits decides.

```
HA_ENTITIES=guest/ip,guest/web*/snapshot      # on at first
HA_ENTITIES=!storage/*,storage/nas/used       # no storages but one
HA_ENTITIES=!guest/9???/*                     # no devices for guests 9000 to 9999
```

`thing` is a guest's VMID or name, a node, a storage, a datastore. What is marked as dangerous is on only where its key
is written out. What Home Assistant knows already it keeps as it is: an entry that is added later creates or removes
entities, but does not switch on what is disabled there.

What the token cannot read is not created; `proxmox/bridge/<bridge>/info` says under `homeassistant.not_created` what is
missing, and under `missing` the line that grants it. What exists already is not taken away because a right was lost.

"""

AFTER = """\
## Availability

An entity is unavailable while its data is not to be trusted: the bridge is gone, the site's API does not answer, or
the thing itself says so (a guest whose node is lost). `Online` of a node and `API` of a site stay: they tell just that.
Everything comes back by itself, also after a restart of Home Assistant or of a broker that has forgotten everything.

A guest keeps its entities, names and history when it migrates. It is removed when it is proven gone (a destroy task, or
three polls and a direct read); a token that sees less for a while removes nothing. A VMID that comes back with another
type is another device. Names that you give in Home Assistant stay. Templates are no devices.

## Disks

Each physical disk of a node is a device of its own, known by its serial number, with what SMART says: a problem, the
temperature, how much of its life is used up (NVMe and SSD; Proxmox shows what is left). Each ZFS pool is one too.

- They are read every `POLL_SLOW_INTERVAL` (1 h). No figure is newer than that: for a temperature alarm that is to come
  soon, set it to some minutes.
- **A disk that sleeps is not woken.** Proxmox asks disks in a way that wakes them, so with `DISK_SMART=ssd` (the
  default) only NVMe and SSD are asked. Disks that spin, and USB, SAS and virtual ones of which Proxmox cannot tell, are
  no devices then; `DISK_SMART=all` asks them too. `DISK_SMART=off` leaves all disks and pools alone, their list too:
  for that list Proxmox runs LVM's and ZFS's tools, and LVM looks at every disk that its `global_filter` does not leave
  out.
- The token needs `Sys.Audit` on `/` (PVEAuditor there): Proxmox asks for it at just that path.
- A disk that its node does not list any more is unavailable at once and removed after three lists without it. A node
  that is away takes its disks along and brings them back.
- The events `disk.smart.failing`, `disk.missing` and `storage.zfs.*` tell the same. A mail of smartd or zed about the
  same disk or pool is the same happening: both are told in one.
- `HA_ENTITIES=!disk/*,!zpool/*` leaves them out of Home Assistant.

## Events

Each guest, node and cluster has an `event` entity, and the same events as device triggers in the automation editor:

- guest: EVENTS_GUEST
- node: EVENTS_NODE
- cluster: EVENTS_CLUSTER; of a Backup Server the last four

Attributes: `title`, `message`, `severity`, `kind`, `at`, `vmid`, `node`, `name`, `approval`. They are told once,
without duplicates, and no later than 15 minutes after they were received. In an automation with a state trigger on an
event entity write `not_from: [unavailable]` and `not_to: [unavailable, unknown]`.

## The recorder

CPU and memory are taken over when they moved by 2 percentage points and 3 minutes have passed, or at once when they
moved by 25 or the guest is down. So a guest makes at most some 1 000 rows a day, and in practice far
fewer (40 guests of the lab: 12 000 rows a day). A package that leaves more out, and
what that brings: [homeassistant-setup.md](homeassistant-setup.md#the-recorder).

## Coming from another Proxmox integration

Both can run side by side: entity ids differ. Which entity is which, and how history is kept:
[homeassistant-setup.md](homeassistant-setup.md#coming-from-another-proxmox-integration). To take everything of ours
away again: stop the bridge, then `mqtt-bridge purge`.

## Known

- Older versions (2025.4 is one) make entity ids from the names of device and entity; newer ones (2026.11) take ours
  (`sensor.<site>_<name>_cpu`).
- A removal logs nothing from Home Assistant's MQTT integration. One line of another logger cannot be avoided: when that
  integration was reloaded (Home Assistant does so when you switch on a disabled entity), 2025.4 logs the warning
  `Unable to remove unknown dispatcher` (`homeassistant.helpers.dispatcher`) once for each device trigger of a device
  that has gone before, or goes later. It is harmless: what was to be forgotten is forgotten already.
- The update entity has no versions of its own to show: Proxmox tells how many packages wait, so it shows
  `9.2.11 + 14 packages`.
- Proxmox's API has no temperature of a node and no disk usage of a virtual machine. A virtual machine's memory counts
  the guest's cache.
"""


def homeassistant() -> str:
    """The page."""
    return HEAD + "".join(_table(kind, rows) for kind, rows in ROWS.items()) + _after()


def _table(kind: str, rows: tuple[Entity, ...]) -> str:
    head = f"### {kind}\n\n| key | entity | platform | at first | needs |\n| --- | --- | --- | --- | --- |\n"
    return head + "".join(_row(row) for row in rows) + "\n"


def _row(row: Entity) -> str:
    first = "dangerous, off" if row.dangerous else "on" if row.enabled else "off"
    needs = " or ".join(dict.fromkeys(f"`{need.privilege}`" for need in row.needs))
    only = f" ({', '.join(sorted(row.variants))})" if row.variants else ""
    return f"| `{row.key}` | {row.name}{only} | {row.platform} | {first} | {needs} |\n"


def _after() -> str:
    def words(kind: str) -> Iterator[str]:
        rows = ROWS[kind]  # type: ignore[index]
        return (f"`{word}`" for row in rows if row.platform == "event" for word in row.options)

    text = AFTER
    for kind in ("guest", "node", "cluster"):
        text = text.replace(f"EVENTS_{kind.upper()}", ", ".join(dict.fromkeys(words(kind))))
    return text
