"""What the simulated hosts send by themselves: notifications, syslog, metrics. To loopback only, and off by default."""
