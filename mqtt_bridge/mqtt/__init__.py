"""To MQTT and back: connections, the loopback of one process, and the broker that we bring along."""
