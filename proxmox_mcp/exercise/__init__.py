"""`proxmox-mcp exercise`: every tool, once to work and once to be refused, on guests made for it and deleted again.

By default on the simulated datacentre; on a real cluster only with `--yes-i-mean SITE`. The only guests that the policy
then admits are those whose ids were free before: whatever goes wrong, no other guest is reached.
"""
