"""From an event on MQTT to what people are told: decided, routed, delivered."""
