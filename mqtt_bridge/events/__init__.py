"""From a listener's report to an event on MQTT."""
