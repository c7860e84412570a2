"""Commands that come in on MQTT: `proxmox/<site>/guest/<vmid>/command` and its like (docs/commands.md).

`commands` listens and answers, `request` reads a payload, `words` knows what can be said, `lanes` keeps order, `carry`
has it done through the one entry for actions, `own_words` are those that change nothing in Proxmox.
"""
