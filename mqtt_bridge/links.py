"""Where an event leads in Proxmox's own web interface."""

from collections.abc import Iterable
from urllib.parse import quote

from mqtt_bridge.model import Event
from mqtt_bridge.settings import SiteSettings


class Links:
    """`link` of an event: its guest, else its node, else the site. None for a site that is not ours."""

    def __init__(self, sites: Iterable[SiteSettings]) -> None:
        self._sites = {site.slug: site for site in sites}

    def __call__(self, event: Event) -> str | None:
        site = self._sites.get(event.site)
        if site is None:
            return None
        base = next((e.url for e in site.endpoints if e.name == event.node), site.endpoints[0].url)
        if site.kind == "pbs":
            return f"{base}/#pbsServerAdministration:tasks"
        if event.guest is not None:
            kind = event.context.get("type")
            return f"{base}/#v1:0:={quote(f'{kind}/{event.guest}', safe='')}" if kind in ("qemu", "lxc") else base
        return f"{base}/#v1:0:={quote(f'node/{event.node}', safe='')}" if event.node else base
