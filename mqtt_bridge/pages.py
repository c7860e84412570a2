"""Which page of Proxmox's web interface an event belongs to."""

from collections.abc import Callable, Mapping
from urllib.parse import quote

from mqtt_bridge.model import Event

GuestTypeOf = Callable[[str, int], str | None]


def no_type(_site: str, _vmid: int) -> str | None:
    """Where no inventory is at hand."""
    return None


class Pages:
    """A notices.Link. `bases` is where each site's interface is (`https://pve1.lan:8006`), `type_of` a guest's type.

    It is called in the database's thread: `type_of` may read what others change, and waits for nothing.
    """

    def __init__(self, bases: Mapping[str, str], type_of: GuestTypeOf = no_type) -> None:
        self._bases = bases
        self._type_of = type_of

    def __call__(self, event: Event) -> str | None:
        """The guest's page, else the storage's, else the node's, else the site's; None for a site that is not ours."""
        base = self._bases.get(event.site)
        if base is None:
            return None
        place = self._guest(event) or _storage(event) or (f"node/{event.node}" if event.node else "")
        return f"{base}/#v1:0:={quote(place, safe='')}" if place else f"{base}/"

    def _guest(self, event: Event) -> str:
        if event.guest is None:
            return ""
        kind = self._type_of(event.site, event.guest) or event.metadata.get("type")
        return f"{kind}/{event.guest}" if kind in ("qemu", "lxc") else ""


def _storage(event: Event) -> str:
    storage = event.metadata.get("storage")
    return f"storage/{event.node}/{storage}" if event.node and isinstance(storage, str) and storage else ""
