"""AI agents, MCP and the mirror of what is on MQTT."""
