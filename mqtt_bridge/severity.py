"""How bad, and how sure: the two scales of an event. Apart from `model` because these need no pydantic."""

from typing import Literal, get_args

Severity = Literal["info", "warning", "error", "critical"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
Trust = Literal["api", "authenticated", "unauthenticated"]
TRUSTS: tuple[Trust, ...] = ("api", "authenticated", "unauthenticated")  # the surest first
