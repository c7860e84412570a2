"""Proxmox and its event sources on MQTT."""
