"""Ways in: one file each. None knows another, and none sees MQTT."""
