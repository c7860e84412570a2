"""The Proxmox API: the client, the inventory made of it, and what can be done with it."""
