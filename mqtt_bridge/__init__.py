"""Proxmox and its event sources on MQTT."""

__version__ = "0.1.0"
