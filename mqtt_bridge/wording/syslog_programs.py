# ruff: noqa: E501 -- one rule, one row
"""Which rules are tried for which program, and what a program's line is that none of them knows."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mqtt_bridge.wording import syslog_rules_auth as auth
from mqtt_bridge.wording import syslog_rules_cluster as cluster
from mqtt_bridge.wording import syslog_rules_guests as guests
from mqtt_bridge.wording import syslog_rules_kernel as kernel
from mqtt_bridge.wording import syslog_rules_storage as storage
from mqtt_bridge.wording import syslog_rules_system as system
from mqtt_bridge.wording.syslog_row import VMID, Row, row


@dataclass(frozen=True, slots=True)
class Family:
    """`quiet`: an unknown line without alarming words is noise; otherwise it is a message.

    `ours`: Proxmox's own services; an unknown line of one that tells of an error is an error of that service.
    """

    rows: tuple[Row, ...]
    quiet: bool = True
    ours: bool = False


_LXC: Final = (
    row("guest.start.failed", "", rf"^(?:lxc-start[: ] ?)?{VMID}[: ][\s\S]{{0,1000}}?(?:[Ff]ail|ERROR|rror|No such)", "CT {guest} did not start"),
    row("guest.start.failed", "container failed to start", "", "A container did not start"),
)  # fmt: skip
_COMMON: Final = (*guests.BACKUPS, *guests.LOCKS, *guests.GUESTS)
_DAEMON: Final = Family(
    (*_COMMON, *storage.STORAGE, *cluster.FILESYSTEM, *auth.AUTH, *system.CLOCKS[:4], *guests.TROUBLE, *guests.CHATTER),
    ours=True,
)
_STATS: Final = Family(
    (*guests.LOCKS, *guests.GUESTS, *storage.PVESTATD, *cluster.FILESYSTEM, *guests.TROUBLE, *guests.CHATTER),
    ours=True,
)
_FIREWALL: Final = Family((*kernel.FIREWALL[2:], *_STATS.rows), ours=True)
_HA: Final = Family((*guests.LOCKS, *cluster.HA, *cluster.FILESYSTEM, *guests.GUESTS, *guests.CHATTER), ours=True)
_SYSTEMD: Final = Family((*system.SYSTEMD, *system.CLOCKS[:4], *system.SYSTEMD_CHATTER))
_CEPH: Final = Family((*storage.CEPH,))
_AUTH: Final = Family((*auth.AUTH, *auth.CHATTER))
_CRON: Final = Family((*auth.AUTH, *system.CRON_MAIL))
_CLOCK: Final = Family(system.CLOCKS)
_UPS: Final = Family(system.POWER)
_PATHS: Final = Family((*storage.MULTIPATH, *storage.STORAGE))
_LVM: Final = Family(storage.STORAGE)
_DEBIAN: Final = Family((*storage.STORAGE, *auth.AUTH))
_NETWORKD: Final = Family(kernel.NETWORK)

_TABLE: Final[tuple[tuple[str, Family], ...]] = (
    (("pvedaemon pveproxy pvescheduler pve-guests qm pct pvesh vzdump pvesr pveum pveupdate pveam pvecm pvenode pvesm "
     "spiceproxy IPCC.xs QEMU task pvepw-logger qmrestore pve-lxc pmgdaemon proxmox-firewall"), _DAEMON),
    ("qmeventd pvebanner pve-daily-update pveversion rrdcached pvefw-logger proxmox-mail-forward", Family((*_COMMON, *kernel.FIREWALL, *guests.CHATTER))),
    ("lxc-start lxc lxcfs lxc-monitord", Family((*guests.GUESTS, *_LXC))),
    ("pvestatd", _STATS),
    ("pve-firewall", _FIREWALL),
    ("pve-ha-crm pve-ha-lrm", _HA),
    ("pmxcfs pve-cluster", Family(cluster.PMXCFS)),
    ("corosync corosync-qdevice", Family(cluster.COROSYNC)),
    ("watchdog-mux", Family(cluster.WATCHDOG)),
    ("kernel audit", Family(kernel.KERNEL)),
    ("systemd systemd-logind systemd-shutdown systemd-journald systemd-udevd init systemd-coredump systemd-modules-load", _SYSTEMD),
    ("systemd-timesyncd chronyd ntpd ntpdate", _CLOCK),
    ("systemd-networkd NetworkManager ifupdown ifup networking", _NETWORKD),
    ("sshd sshd-session sshd-auth sudo su login polkitd pam dropbear systemd-user", _AUTH),
    (("CRON cron crond anacron postfix/smtpd postfix/smtp postfix/qmgr postfix/pickup postfix/cleanup postfix/local "
     "postfix/master postfix/anvil postfix postfix/bounce postfix/error postfix/postfix-script dbus-daemon dhclient rsyslogd fstrim apt"), _CRON),
    (("ModemManager udisksd blkmapd rpcbind rpc.statd rpc.mountd rpc.nfsd rpc.idmapd sm-notify nfsdcld iscsid zfs zpool "
      "avahi-daemon irqbalance thermald acpid haveged rngd ksmtuned lldpd snmpd dnsmasq frr zebra watchfrr bgpd ospfd "
      "dbus dbus-broker logrotate apt-get apt.systemd.daily unattended-upgrade ifreload rsync containerd dockerd "
      "netavark pve-lxc-syscalld lvm2-activation kexec-load vnstatd tailscaled snapd fail2ban-server fail2ban-client wpa_supplicant"), _DEBIAN),
    ("upsmon upsd upssched nut-monitor nut-server apcupsd", _UPS),
    ("multipathd", _PATHS),
    ("smartd", Family(storage.SMARTD)),
    ("zed zfs-zed", Family(storage.ZED)),
    ("mdadm mdmonitor", Family(storage.MDADM)),
    ("ceph-mon ceph-osd ceph-mgr ceph-mds ceph", _CEPH),
    ("dmeventd lvm vgs lvs", _LVM),
    ("proxmox-backup-proxy proxmox-backup-api proxmox-backup-manager proxmox-backup proxmox-daily-update sg-tape-cmd",
     Family((*auth.AUTH, *system.PBS, *storage.STORAGE), ours=True)),
)  # fmt: skip
_FAMILIES: Final[dict[str, Family]] = {name: family for names, family in _TABLE for name in names.split()}


def _telling(*tables: Iterable[Row]) -> tuple[Row, ...]:
    """The rows that tell of something: what is noise from one program may be news from another."""
    return tuple(entry for table in tables for entry in table if entry.kind != "noise")


# A line of a program that is not in the table, or of none: every rule that says something is tried.
_UNKNOWN: Final = Family(
    (
        *_telling(kernel.FIREWALL, _COMMON, cluster.HA, cluster.PMXCFS, storage.PVESTATD, cluster.FILESYSTEM),
        *(entry for entry in _telling(cluster.COROSYNC) if entry.kind != "service.error"),
        *_telling(cluster.WATCHDOG, storage.SMARTD, storage.MDADM),
        *_telling(storage.ZED, kernel.MEMORY, kernel.ZFS, kernel.RAID, kernel.DISKS, kernel.SHARES, storage.CEPH),
        *_telling(
            auth.AUTH, system.CLOCKS, system.SYSTEMD, system.PBS, guests.TROUBLE, kernel.NETWORK, kernel.OTHER, _LXC[:1]
        ),
        *(entry for entry in (*kernel.FIREWALL, *guests.TROUBLE, *kernel.OTHER) if entry.kind == "noise"),
    ),
    quiet=False,
)


def family_of(program: str) -> Family:
    """The rules for `program`: its own, or all of them."""
    found = _FAMILIES.get(program)
    if found:
        return found
    if program.startswith("systemd-"):
        return _SYSTEMD
    base = program.strip("()").split("/", 1)[0].split("@", 1)[0]
    return _FAMILIES.get(base, _UNKNOWN)
