"""Names and shapes of things that one finds in a small company's datacentre."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .state import DiskKind

# name, kind, cores, memory in MiB, disk in GiB, tags, pool, mean cpu share
GUESTS: tuple[tuple[str, str, int, int, int, str, str, float], ...] = (
    ("web01", "qemu", 2, 4096, 32, "prod;web", "prod", 0.18),
    ("web02", "qemu", 2, 4096, 32, "prod;web", "prod", 0.15),
    ("db01", "qemu", 4, 16384, 128, "db;prod", "prod", 0.31),
    ("mail", "qemu", 2, 8192, 100, "mail;prod", "prod", 0.09),
    ("dc01", "qemu", 2, 4096, 64, "windows", "infra", 0.05),
    ("gitlab", "qemu", 4, 12288, 100, "dev", "dev", 0.22),
    ("ci-runner-1", "qemu", 8, 16384, 80, "ci;dev", "dev", 0.45),
    ("homeassistant", "qemu", 2, 4096, 32, "home", "", 0.07),
    ("nextcloud", "qemu", 4, 8192, 64, "prod;web", "prod", 0.12),
    ("truenas", "qemu", 4, 16384, 32, "storage", "infra", 0.11),
    ("opnsense", "qemu", 2, 2048, 20, "network", "infra", 0.08),
    ("jellyfin", "qemu", 4, 8192, 64, "home;media", "", 0.14),
    ("k3s-1", "qemu", 4, 8192, 64, "dev;k8s", "dev", 0.27),
    ("k3s-2", "qemu", 4, 8192, 64, "dev;k8s", "dev", 0.24),
    ("dns", "lxc", 1, 512, 8, "infra;network", "infra", 0.01),
    ("proxy", "lxc", 1, 1024, 8, "network;web", "infra", 0.04),
    ("grafana", "lxc", 2, 2048, 16, "monitoring", "infra", 0.06),
    ("prometheus", "lxc", 2, 4096, 64, "monitoring", "infra", 0.16),
    ("mqtt", "lxc", 1, 512, 8, "home", "", 0.02),
    ("n8n", "lxc", 2, 2048, 16, "automation;home", "", 0.05),
    ("paperless", "lxc", 2, 2048, 32, "home", "", 0.03),
    ("unifi", "lxc", 2, 2048, 16, "network", "infra", 0.06),
    ("wireguard", "lxc", 1, 256, 4, "network", "infra", 0.01),
)
TEMPLATES: tuple[tuple[str, int, int, int], ...] = (
    ("debian-13-cloud", 2, 2048, 8),
    ("ubuntu-24-04-cloud", 2, 2048, 10),
)
STOPPED = frozenset({"ci-runner-1", "paperless", "k3s-2"})
PVE_UPDATES = (
    ("pve-manager", "9.2.9", "9.2.11"),
    ("qemu-server", "9.2.4", "9.2.6"),
    ("libssl3t64", "3.5.1-1", "3.5.1-1+deb13u1"),
)
PBS_UPDATES = (("proxmox-backup-server", "4.2.5-1", "4.2.6-1"),)
DISKS: tuple[tuple[str, str, DiskKind, int, str, int], ...] = (
    ("/dev/nvme0n1", "Samsung SSD 980 PRO 1TB", "nvme", 1_000_204_886_016, "LVM", 94),
    ("/dev/sda", "WDC WD40EFRX-68N32N0", "hdd", 4_000_787_030_016, "ZFS", -1),
    ("/dev/sdb", "Crucial CT1000MX500SSD1", "ssd", 1_000_204_886_016, "BIOS boot", 97),
)
SERVICES = (
    ("corosync", "Corosync Cluster Engine"),
    ("cron", "Regular background program processing daemon"),
    ("pve-cluster", "The Proxmox VE cluster filesystem"),
    ("pve-firewall", "Proxmox VE firewall"),
    ("pve-ha-crm", "PVE Cluster HA Resource Manager Daemon"),
    ("pve-ha-lrm", "PVE Local HA Resource Manager Daemon"),
    ("pvedaemon", "PVE API Daemon"),
    ("pveproxy", "PVE API Proxy Server"),
    ("pvescheduler", "Proxmox VE scheduler"),
    ("pvestatd", "PVE Status Daemon"),
    ("spiceproxy", "PVE SPICE Proxy Server"),
    ("sshd", "OpenBSD Secure Shell server"),
    ("systemd-timesyncd", "Network Time Synchronization"),
)
