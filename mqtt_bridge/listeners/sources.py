"""Who may send to a listener that others can reach: addresses and networks; nobody named means this machine only."""

import ipaddress
from functools import lru_cache

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_REMEMBERED = 1024  # senders whose verdict is kept: as many hosts as anyone forwards from, and a bound for forgers


class Sources:
    """An allow-list of `192.168.1.10`, `10.0.0.0/8`, `fd00::/8`. Raises ValueError for what is neither."""

    def __init__(self, allowed: tuple[str, ...] = ()) -> None:
        self.networks: tuple[Network, ...] = tuple(ipaddress.ip_network(text, strict=False) for text in allowed)
        self.allows = lru_cache(maxsize=_REMEMBERED)(self._allows)

    def __bool__(self) -> bool:
        """Whether anybody is named."""
        return bool(self.networks)

    def _allows(self, ip: str) -> bool:
        """Whether this address, as the socket tells it, may send. An IPv4 address in IPv6 clothes is the IPv4 one."""
        address = parse(ip)
        if address is None:
            return False
        if not self.networks:
            return address.is_loopback
        return any(address.version == network.version and address in network for network in self.networks)


def parse(ip: str) -> Address | None:
    """An address without its IPv6 zone, `::ffff:a.b.c.d` as `a.b.c.d`; None for what is no address."""
    try:
        address = ipaddress.ip_address(ip.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
