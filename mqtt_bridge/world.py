"""What the inventories know, for those who ask in passing: which site a node is of, what state a guest is in."""

from collections.abc import Iterator, Mapping, Sequence

from mqtt_bridge.model import GuestState, NodeState, SiteStatus
from mqtt_bridge.proxmox.backup_server import BackupServerInventory
from mqtt_bridge.proxmox.inventory import Inventory

AnyInventory = Inventory | BackupServerInventory


class InventoryWorld:
    """Cached state by site. Inventories may be added after it was made."""

    def __init__(self, sites: Sequence[str], inventories: Mapping[str, AnyInventory]) -> None:
        self.sites: Sequence[str] = tuple(sites)
        self._inventories = inventories

    def sites_of(self, node: str | None, guest: int | None) -> Sequence[str]:
        """The sites that have this node; without a node, those that have this guest."""
        if node:
            return [site for site in self.sites if self.node_name(site, node)]
        if guest is not None:
            return [site for site in self.sites if self.guest(site, guest)]
        return []

    def guest(self, site: str, vmid: int) -> GuestState | None:
        """The guest as last published."""
        inventory = self._inventories.get(site)
        record = inventory.guests.records.get(vmid) if isinstance(inventory, Inventory) else None
        return record.state if record else None

    def node(self, site: str, name: str) -> NodeState | None:
        """The node as last published, whatever the case of its name."""
        spelled = self.node_name(site, name)
        return self._inventories[site].nodes.records[spelled].state if spelled else None

    def node_name(self, site: str, host: str) -> str | None:
        """The node's own spelling: mails and syslog may write it in other case, or with a domain."""
        inventory = self._inventories.get(site)
        records = inventory.nodes.records if inventory else {}
        if host in records:
            return host
        short = host.split(".", 1)[0].casefold()
        return next((name for name in records if name.casefold() == short), None)

    def node_at(self, address: str) -> tuple[str, str] | None:
        """Site and name of the only node that has this address."""
        found = [(site, node.node) for site in self.sites for node in self.nodes(site) if node.ip == address]
        return found[0] if len(found) == 1 else None

    def guests(self, site: str) -> Iterator[GuestState]:
        """The guests of a site by VMID."""
        inventory = self._inventories.get(site)
        records = inventory.guests.records if isinstance(inventory, Inventory) else {}
        return (record.state for _, record in sorted(records.items()) if record.state)

    def nodes(self, site: str) -> Iterator[NodeState]:
        """The nodes of a site by name."""
        inventory = self._inventories.get(site)
        records = inventory.nodes.records if inventory else {}
        return (record.state for _, record in sorted(records.items()) if record.state)

    def status(self, site: str) -> SiteStatus | None:
        """Whether the site's API answers; None before the first poll."""
        inventory = self._inventories.get(site)
        return inventory.pulse.status if inventory else None
