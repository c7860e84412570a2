"""Ways out: one file each. None knows another; each tells one service, and says truly what came of it."""
