"""`proxmox-mcp setup`: what somebody has to do in Proxmox once, as lines to run there."""
