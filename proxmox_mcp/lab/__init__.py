"""A simulated Proxmox datacentre behind the real HTTP API, for the demo, tests and other people's clients."""

from .control import send_fault
from .faults import FAULTS, Fault
from .lab import Account, Lab
from .mishaps import FaultError
from .options import LabOptions

__all__ = ["FAULTS", "Account", "Fault", "FaultError", "Lab", "LabOptions", "send_fault"]
