"""`python -m proxmox_mcp`."""

import sys

from proxmox_mcp.cli import main

sys.exit(main())
