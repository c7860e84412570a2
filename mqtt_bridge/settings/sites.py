"""The sites: the short form, hosts on their own, and clusters. One function for each layout, in one table."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from mqtt_bridge.settings import hosts
from mqtt_bridge.settings.row import SECRET_FILE, Row
from mqtt_bridge.settings.sources import Report, Sources
from mqtt_bridge.settings.table import (
    FAMILIES,
    HOST_ROWS,
    HOSTS_ROW,
    KEYS,
    PBS_PRIMARY,
    PVE_PRIMARY,
    ROWS,
    SHORT_FORM,
    host_rows,
)
from mqtt_bridge.settings.types import Endpoint, Kind, SiteSettings

_NAMING: tuple[tuple[str, str], ...] = (
    ("PVE_NODES", "PVE_NODE_"),
    ("PBS_NODES", "PBS_NODE_"),
    ("PVE_CLUSTER_SUBNODES", "PVE_NODE_"),
    ("PVE_CLUSTERS", ""),
)
_SUFFIXES = tuple(row.key for row in HOST_ROWS)


@dataclass
class Names:
    """The names that settings give to hosts, with the prefixes behind which their own settings are written."""

    sources: Sources
    report: Report
    prefixes: set[str] = field(default_factory=set)
    _owner: dict[str, str] = field(default_factory=dict)

    def register(self) -> None:
        """Note every listed name, also those that LAB_CONFIGURATION leaves out: their keys are no typing errors."""
        for key, long in _NAMING:
            for name in self.listed(key):
                self.prefixes |= {_prefix(name)} | ({long + _prefix(name)} if long else set())

    def listed(self, key: str) -> tuple[str, ...]:
        return self.sources.value(ROWS[key]) or ()

    def claim(self, key: str, name: str, long: str) -> tuple[str, ...]:
        """The prefixes for `name`, the first for messages; empty, with the reason reported, where it can't be used."""
        short = _prefix(name)
        other = self._owner.setdefault(short, f"{name} of {key}")
        if other != f"{name} of {key}":
            self.report.problem(key, f"names {name}, and {other} has the same settings {short}…: rename one of them.")
            return ()
        if not _foreign(short):
            return (short, long + short) if long else (short,)
        if long and self.sources.has(f"{long}{short}HOST"):
            return (long + short,)
        cure = f"write {long}{short}HOST, {long}{short}USER and so on" if long else "choose another name for it"
        self.report.problem(key, f"names {name}, whose setting {short}HOST belongs to something else: {cure}.")
        return ()


def _prefix(name: str) -> str:
    return name.upper().replace("-", "_") + "_"


def _foreign(prefix: str) -> bool:
    return prefix in FAMILIES or any(prefix + suffix in KEYS for suffix in (*_SUFFIXES, HOSTS_ROW.key))


@dataclass
class Builder:
    """Makes sites from what is written; whatever is wrong goes to the report."""

    sources: Sources
    report: Report
    names: Names
    verify: bool

    def value(self, key: str) -> Any:
        return self.sources.value(ROWS[key])

    def short_form(self) -> Iterable[SiteSettings]:
        block = hosts.read(self.sources, (SHORT_FORM,))
        port = self.value("PROXMOX_PORT")
        if not block.values:
            return
        own_port = (block.values.get("HOST") or (None, None))[1]
        if port and own_port and port != own_port:
            self.report.problem("PROXMOX_PORT", "is another port than the one in PROXMOX_HOST: keep one of them.")
        site = self.value("PROXMOX_SITE") or ""
        host = _short_name(block, site)
        yield from self._site("PROXMOX_SITE", site, "pve", [self._endpoint(block, host, "pve", port)])

    def standalone(self) -> Iterable[SiteSettings]:
        kinds: tuple[tuple[str, str, Kind], ...] = (
            ("PVE_NODES", "PVE_NODE_", "pve"),
            ("PBS_NODES", "PBS_NODE_", "pbs"),
        )
        for key, long, kind in kinds:
            for name in self.names.listed(key):
                if prefixes := self.names.claim(key, name, long):
                    block = hosts.read(self.sources, prefixes)
                    yield from self._site(key, name, kind, [self._endpoint(block, name, kind)])

    def pve_cluster(self) -> Iterable[SiteSettings]:
        primary = hosts.read(self.sources, (PVE_PRIMARY,))
        name = self._required_name("PVE_CLUSTER_NAME")
        found = [
            self._endpoint(primary, _short_name(primary, name), "pve"),
            *(
                self._endpoint(primary.heir(hosts.read(self.sources, prefixes)), node, "pve")
                for node in self.names.listed("PVE_CLUSTER_SUBNODES")
                if (prefixes := self.names.claim("PVE_CLUSTER_SUBNODES", node, "PVE_NODE_"))
            ),
        ]
        yield from self._site("PVE_CLUSTER_NAME", name, "pve", found, clustered=True)

    def pve_clusters(self) -> Iterable[SiteSettings]:
        for name in self.names.listed("PVE_CLUSTERS"):
            if prefixes := self.names.claim("PVE_CLUSTERS", name, ""):
                found = list(self._cluster_hosts(prefixes[0], name))
                yield from self._site("PVE_CLUSTERS", name, "pve", found, clustered=True)

    def pbs_cluster(self) -> Iterable[SiteSettings]:
        block = hosts.read(self.sources, (PBS_PRIMARY,))
        name = self._required_name("PBS_CLUSTER_NAME")
        yield from self._site("PBS_CLUSTER_NAME", name, "pbs", [self._endpoint(block, _short_name(block, name), "pbs")])

    def _cluster_hosts(self, prefix: str, name: str) -> Iterable[Endpoint | None]:
        block = hosts.read(self.sources, (prefix,))
        row = replace(HOSTS_ROW, key=prefix + HOSTS_ROW.key)
        listed: tuple[tuple[str, int | None], ...] = self.sources.value(row) or ()
        if not listed and row.key not in self.sources.invalid and not block.has("HOST"):
            self.report.problem(row.key, f"is missing: write the addresses of {name}, as in {row.key}={row.example}.")
        if len(listed) > 1 and block.values.get("FINGERPRINT"):
            self.report.problem(
                block.key("FINGERPRINT"),
                f"fits one host, and {row.key} names several: use {block.key('CA_FILE')} with the cluster's own CA.",
            )
        for host, port in listed or (([block.values["HOST"]]) if block.values.get("HOST") else ()):
            one = replace(block, values={**block.values, "HOST": (host, port)})
            yield self._endpoint(one, _first_label(host), "pve")

    def _endpoint(self, block: hosts.Block, name: str, kind: Kind, port: int | None = None) -> Endpoint | None:
        return hosts.endpoint(block, name, kind, self.report, verify=self.verify, port=port)

    def _required_name(self, key: str) -> str:
        name: str = self.value(key) or ""
        if not name and key not in self.sources.invalid:
            self.report.problem(key, f"is missing: write the name that the site shall have on MQTT, as in {key}=lab.")
        return name

    def _site(
        self, key: str, name: str, kind: Kind, found: list[Endpoint | None], *, clustered: bool = False
    ) -> Iterable[SiteSettings]:
        good = tuple(endpoint for endpoint in found if endpoint)
        if not name or not good:
            return
        slug = _slug(name)
        if reason := _slug_problem(slug):
            self.report.problem(key, f"{reason}: choose another name for {name}.")
        yield SiteSettings(slug, name, kind, _distinct(good), clustered)


def _distinct(endpoints: tuple[Endpoint, ...]) -> tuple[Endpoint, ...]:
    """Each address once, and names unique within a site: where two would be equal, each is its host and port."""
    by_address: dict[tuple[str, int], Endpoint] = {}
    for one in endpoints:
        by_address.setdefault((one.host.casefold(), one.port), one)
    endpoints = tuple(by_address.values())
    names = [endpoint.name for endpoint in endpoints]
    return tuple(replace(e, name=e.url.removeprefix("https://")) if names.count(e.name) > 1 else e for e in endpoints)


def _first_label(host: str) -> str:
    return host if re.fullmatch(r"[\d.]+|.*:.*", host) else host.split(".", 1)[0]


def _short_name(block: hosts.Block, default: str) -> str:
    host = block.values.get("HOST")
    return _first_label(host[0]) if host else default or "the host"


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_-]", "-", name.casefold())


def _slug_problem(slug: str) -> str:
    from mqtt_bridge.topics import RESERVED_SITES, SITE_SLUG  # noqa: PLC0415 - it imports pydantic, which is slow

    if slug in RESERVED_SITES:
        return f"makes the site {slug}, a name that is reserved"
    return "" if SITE_SLUG.fullmatch(slug) and slug.strip("-") else "makes no name that fits a topic"


@dataclass(frozen=True)
class _Layout:
    """A way to describe sites: what reads it, in which LAB_CONFIGURATION, and the keys that mean it is used."""

    read: Callable[[Builder], Iterable[SiteSettings]]
    modes: frozenset[str]
    keys: tuple[str, ...]


_CLUSTERED, _STANDALONE = frozenset({"CLUSTERED", "MIXED"}), frozenset({"STANDALONE", "MIXED"})
_LAYOUTS = (
    _Layout(Builder.short_form, _CLUSTERED | _STANDALONE, tuple(row.key for row in host_rows(SHORT_FORM))),
    _Layout(Builder.standalone, _STANDALONE, ("PVE_NODES", "PBS_NODES")),
    _Layout(Builder.pve_cluster, _CLUSTERED, ("PVE_CLUSTER_NAME", f"{PVE_PRIMARY}HOST", "PVE_CLUSTER_SUBNODES")),
    _Layout(Builder.pve_clusters, _CLUSTERED, ("PVE_CLUSTERS",)),
    _Layout(Builder.pbs_cluster, _CLUSTERED, ("PBS_CLUSTER_NAME", f"{PBS_PRIMARY}HOST")),
)


def build(sources: Sources, report: Report, names: Names, *, verify: bool) -> tuple[SiteSettings, ...]:
    """Every site that is described and read in this LAB_CONFIGURATION."""
    mode = sources.value(ROWS["LAB_CONFIGURATION"]) or "MIXED"
    builder = Builder(sources, report, names, verify)
    found: list[SiteSettings] = []
    for layout in _LAYOUTS:
        used = [key for key in layout.keys if sources.has(key)]
        if used and mode in layout.modes:
            found += layout.read(builder)
        elif used:
            report.warning(
                f"{', '.join(used)}: not used, because LAB_CONFIGURATION={mode} leaves it out; MIXED reads all."
            )
    _compare(found, report)
    return tuple(found)


def _compare(sites: list[SiteSettings], report: Report) -> None:
    """Report sites that would share topics, and hosts that are asked twice."""
    for slug in dict.fromkeys(site.slug for site in sites):
        twins = [site.name for site in sites if site.slug == slug]
        if len(twins) > 1:
            listed = ", ".join(twins)
            report.problem(f"Site {slug}", f"is what several names become on MQTT ({listed}): rename all but one.")
    addresses: dict[str, str] = {}
    for url, name in [(one.url, site.name) for site in sites for one in site.endpoints]:
        if (first := addresses.setdefault(url, name)) != name:
            report.warning(f"{url} is in both {first} and {name}: what it knows appears twice.")


def known(prefixes: set[str], key: str) -> bool:
    """Whether `key` belongs to one of the named hosts."""
    plain = key.removesuffix(SECRET_FILE) if key.endswith(f"TOKEN_VALUE{SECRET_FILE}") else key
    return any(plain.startswith(p) and plain[len(p) :] in (*_SUFFIXES, HOSTS_ROW.key) for p in prefixes)


def rows(prefixes: set[str]) -> tuple[Row, ...]:
    """The rows of every named host."""
    return tuple(
        row
        for prefix in sorted(prefixes)
        for row in (*host_rows(prefix), replace(HOSTS_ROW, key=prefix + HOSTS_ROW.key))
        if row.key not in KEYS
    )
