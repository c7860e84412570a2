"""The retained payloads that a mirror holds: validated, indexed by site and kind, bounded.

Anyone on the broker can write to our topics. What does not validate, or says something else than its topic, is counted
and ignored, and the last good payload stays. What the site's manifest does not list is never shown. A first payload is
validated when it is first read (10 000 guests arrive in one go), a later one when it comes.
"""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from pydantic import ValidationError

from mqtt_bridge.model import GuestState, Heartbeat, Manifest, Model
from mqtt_bridge.mqtt.bus import Message
from mqtt_bridge.topics import SITE_SLUG, Parsed, Topics

MAX_TOPICS = 60_000
MAX_BYTES = 256 * 1024 * 1024
MAX_SITES = 64
SMALL = 64 * 1024  # bytes of a payload about one thing
LARGE = {"manifest": 1024 * 1024, "tasks": 512 * 1024, "events": 512 * 1024, "bridge_info": 512 * 1024}
WORDS = {"bridge_state": ("online", "offline"), "site_state": ("online", "degraded", "offline")}
# which list of the manifest speaks of a kind
LISTS = {
    "node": "nodes",
    "node_metrics": "nodes",
    "guest": "guests",
    "guest_metrics": "guests",
    "storage": "storages",
    "shared_storage": "storages",
    "datastore": "datastores",
    "disk": "disks",
    "zpool": "zpools",
}
REQUIRED = ("node", "guest", "storage", "shared_storage", "datastore", "disk", "zpool")  # metrics may be absent

Key = tuple[str, str, str]  # site (or ""), kind, the other ids joined by "/"


@dataclass(slots=True)
class Entry:
    """One retained payload; `value` is None until it is first read. `epoch`: the fill that last confirmed it."""

    topic: str
    key: Key
    value: Model | str | None
    raw: bytes
    epoch: int


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat and when it came: `wall` and `monotonic` are our clocks, `live` that it was not a stored one."""

    value: Heartbeat
    wall: float
    monotonic: float
    live: bool


@dataclass
class Store:
    """What came, by topic and by key."""

    names: Topics
    max_topics: int = MAX_TOPICS
    max_bytes: int = MAX_BYTES
    epoch: int = 0
    size: int = 0  # bytes held
    overflow: bool = False
    topics: dict[str, Entry] = field(default_factory=dict)
    tables: dict[tuple[str, str], dict[str, Entry]] = field(default_factory=dict)
    stats: Counter[str] = field(default_factory=Counter)
    beats: dict[str, Beat] = field(default_factory=dict)
    skew: dict[str, float] = field(default_factory=dict)
    awaited: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    missing: set[Key] = field(default_factory=set)
    locked_since: dict[tuple[str, int], tuple[str, float]] = field(default_factory=dict)
    _listed: dict[str, dict[str, frozenset[str]]] = field(default_factory=dict)

    # --- reading ----------------------------------------------------------------------------------------------------

    def sites(self) -> list[str]:
        """The sites that tell of themselves: those with a heartbeat or a manifest."""
        found = {site for site, kind in self.tables if kind in {"heartbeat", "manifest"} and self.tables[site, kind]}
        return sorted(found)

    def get(self, site: str, kind: str, key: str = "") -> Model | str | None:
        """The value of one topic, if it is there and listed."""
        entry = self.tables.get((site, kind), {}).get(key)
        return self._value(entry) if entry and self.listed(entry.key) else None

    def items(self, site: str, kind: str) -> Iterator[tuple[str, Model | str]]:
        """The listed values of a kind, by their key."""
        for key, entry in list(self.tables.get((site, kind), {}).items()):
            if self.listed(entry.key) and (value := self._value(entry)) is not None:
                yield key, value

    def listed(self, key: Key) -> bool:
        """Whether the manifest names it; everything counts as named before there is a complete manifest."""
        site, kind, name = key
        lists = self._listed.get(site)
        if kind not in LISTS or lists is None:
            return True
        return name in lists[kind]

    def expected(self, site: str, kind: str) -> frozenset[str]:
        """The names that the site's manifest lists for a kind."""
        manifest = self._manifest(site)
        return _named(manifest, kind) if manifest else frozenset()

    def topic(self, key: Key) -> str | None:
        """The topic of a key that the manifest names; None where the name cannot be part of a topic (a forged one)."""
        site, kind, name = key
        node, _, last = name.rpartition("/")
        try:
            ids = dict.fromkeys(("vmid", "storage", "store", "disk", "pool"), last)
            return self.names.build(kind, site=site, node=node or last, **ids)
        except ValueError:
            return None

    def unseen(self, site: str, kind: str) -> set[str]:
        """The listed names of a kind that have not come since the fill began."""
        return self.awaited.get((site, kind), set())

    def _value(self, entry: Entry) -> Model | str | None:
        """The value, validated now if it has not been; what turns out to be invalid is forgotten."""
        if entry.value is None:
            parsed = self.names.parse(entry.topic)
            entry.value = self._validate(parsed, entry.raw) if parsed else None
            if entry.value is None:
                self._remove(entry)
            elif isinstance(entry.value, GuestState):
                self._note_lock(entry.value)
        return entry.value

    def _manifest(self, site: str) -> Manifest | None:
        entry = self.tables.get((site, "manifest"), {}).get("")
        return entry.value if entry and isinstance(entry.value, Manifest) else None

    # --- writing ----------------------------------------------------------------------------------------------------

    def put(self, message: Message) -> Key | None:
        """Take one message; returns its key if what we know changed by it."""
        entry = self.topics.get(message.topic)
        if not message.payload:
            return self._remove(entry)
        if entry is not None:
            return self._update(entry, message)
        parsed = self.names.parse(message.topic)
        if parsed is None or not parsed.kind.retain or not self._site_ok(parsed):
            self.stats["foreign"] += 1
            return None
        return self._add(parsed, message)

    def begin(self) -> None:
        """A fill begins: everything listed is to be seen again."""
        self.epoch += 1
        self.overflow = False
        self.awaited = {(site, kind): set(self.expected(site, kind)) for site in self.sites() for kind in LISTS}

    def finish(self) -> None:
        """A fill ended: what it has not brought is missing; what nobody lists any more is forgotten."""
        self.missing = {(*at, name) for at, names in self.awaited.items() if at[1] in REQUIRED for name in names}
        for entry in [e for e in self.topics.values() if e.epoch < self.epoch and not self.listed(e.key)]:
            self._remove(entry)

    def _site_ok(self, parsed: Parsed) -> bool:
        if not parsed.site:
            return True
        if not SITE_SLUG.fullmatch(parsed.site):
            return False
        return parsed.site in self.beats or len(self.beats) < MAX_SITES

    def _add(self, parsed: Parsed, message: Message) -> Key | None:
        ids = dict(parsed.ids)
        key = (ids.pop("site", ""), parsed.kind.name, "/".join(ids.values()))
        if self._too_large(parsed, message.payload) or not self._room(key, len(message.payload)):
            return None
        late = key[1] in LISTS and _plausible(key[1], message.payload)
        value = None if late else self._validate(parsed, message.payload)
        if value is None and not late:
            return None
        entry = Entry(message.topic, key, value, message.payload, self.epoch)
        self.topics[message.topic] = entry
        self.tables.setdefault(key[:2], {})[key[2]] = entry
        self.size += len(message.payload)
        self._noted(entry, message)
        return key

    def _update(self, entry: Entry, message: Message) -> Key | None:
        changed = message.payload != entry.raw
        if changed:
            parsed = self.names.parse(message.topic)
            assert parsed is not None  # noqa: S101 - the entry exists because its topic parsed
            value = self._validate(parsed, message.payload)
            if value is None:
                return None
            self.size += len(message.payload) - len(entry.raw)
            entry.value, entry.raw = value, message.payload
        entry.epoch = self.epoch
        self._noted(entry, message)
        return entry.key if changed else None

    def _validate(self, parsed: Parsed, raw: bytes) -> Model | str | None:
        """The value, or None (counted) where it is too large, malformed or about something else than its topic."""
        kind, model = parsed.kind.name, parsed.kind.payload
        if self._too_large(parsed, raw):
            return None
        value = _word(kind, raw) if not issubclass(model, Model) else _model(model, parsed.ids, raw)
        if value is None:
            self.stats["invalid"] += 1
        return value

    def _too_large(self, parsed: Parsed, raw: bytes) -> bool:
        large = len(raw) > LARGE.get(parsed.kind.name, SMALL)
        self.stats["oversized"] += large
        return large

    def _room(self, key: Key, more: int) -> bool:
        if len(self.topics) < self.max_topics and self.size + more <= self.max_bytes:
            return True
        wanted = self.listed(key)
        if wanted and self._evict():
            return True
        self.stats["dropped"] += 1
        self.overflow |= wanted  # strangers that find no room are no loss
        return False

    def _evict(self) -> bool:
        """Make room by forgetting what no manifest lists (a flood of foreign topics)."""
        strangers = [e for e in self.topics.values() if not self.listed(e.key)]
        for entry in strangers:
            self._remove(entry)
        self.stats["dropped"] += len(strangers)
        return bool(strangers)

    def _remove(self, entry: Entry | None) -> Key | None:
        if entry is None:
            return None
        del self.topics[entry.topic]
        site, kind, name = entry.key
        self.tables[site, kind].pop(name, None)
        self.size -= len(entry.raw)
        if kind == "manifest":
            self._listed.pop(site, None)
            self.awaited = {at: names for at, names in self.awaited.items() if at[0] != site}
            self.missing = {k for k in self.missing if k[0] != site}
        elif kind == "heartbeat":
            self.beats.pop(site, None)
        elif kind == "guest":
            self.locked_since.pop((site, int(name)), None)
        if kind in REQUIRED and name in self.expected(site, kind):
            self.missing.add(entry.key)
        return entry.key

    def _noted(self, entry: Entry, message: Message) -> None:
        """What follows from a payload that was taken."""
        self.unseen(*entry.key[:2]).discard(entry.key[2])
        self.missing.discard(entry.key)
        value = entry.value
        if isinstance(value, Manifest):
            self._note_manifest(entry.key[0], value)
        elif isinstance(value, Heartbeat):
            self._note_beat(entry.key[0], value, live=not message.retain)
        elif isinstance(value, GuestState):
            self._note_lock(value)

    def _note_manifest(self, site: str, manifest: Manifest) -> None:
        if manifest.complete:
            self._listed[site] = {kind: _named(manifest, kind) for kind in LISTS}
        else:
            self._listed.pop(site, None)
        absent: set[Key] = set()
        for kind in LISTS:
            table, names = self.tables.get((site, kind), {}), _named(manifest, kind)
            self.awaited[site, kind] = {n for n in names if n not in table or table[n].epoch < self.epoch}
            absent |= {(site, kind, n) for n in names if kind in REQUIRED and n not in table}
        self.missing = {k for k in self.missing if k[0] != site or k in absent} | absent

    def _note_beat(self, site: str, beat: Heartbeat, *, live: bool) -> None:
        now = time.time()
        if live and (sent := seconds(beat.sent_at)) is not None:
            self.skew[site] = now - sent
        self.beats[site] = Beat(beat, now, time.monotonic(), live)

    def _note_lock(self, guest: GuestState) -> None:
        key = (guest.site, guest.vmid)
        known = self.locked_since.get(key)
        if guest.lock is None:
            self.locked_since.pop(key, None)
        elif known is None or known[0] != guest.lock:
            self.locked_since[key] = (guest.lock, time.time())


def seconds(text: str | None) -> float | None:
    """An ISO 8601 time as Unix seconds; None where it is none."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None


def _plausible(kind: str, raw: bytes) -> bool:
    """Whether validation can wait: it looks like an object, and no lock has to be noted."""
    return raw[:1] == b"{" and raw[-1:] == b"}" and len(raw) <= SMALL and (kind != "guest" or b'"lock":null' in raw)


def _word(kind: str, raw: bytes) -> str | None:
    word = raw.decode(errors="replace")
    return word if word in WORDS[kind] else None


def _model(model: type[Model], ids: dict[str, str], raw: bytes) -> Model | None:
    try:
        value = model.model_validate_json(raw)
    except ValidationError:
        return None
    return value if all(str(getattr(value, name, text)) == text for name, text in ids.items()) else None


def _named(manifest: Manifest, kind: str) -> frozenset[str]:
    names = (str(name) for name in getattr(manifest, LISTS[kind]))
    if kind in {"storage", "shared_storage"}:
        return frozenset(n for n in names if ("/" in n) == (kind == "storage"))
    return frozenset(names)
