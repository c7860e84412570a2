"""Who may come in over HTTP: each token is a principal, and what it may do follows from it alone.

MCP_AUTH_TOKEN is the token called `default`; its level is MCP_ALLOW, its tools MCP_TOOLSETS. A token of
MCP_TOKENS_FILE has its own level and tools in place of these, which may be more than these or less.
"""

import hashlib
import hmac
from dataclasses import dataclass
from typing import Self

from mqtt_bridge.policy import Principal
from mqtt_bridge.settings import Level, McpSettings, NamedToken, Settings

DEFAULT = "default"  # the name of MCP_AUTH_TOKEN
NOBODY = "http"  # whoever comes where no token is asked for


@dataclass(frozen=True)
class Keyring:
    """The tokens by their digests. Without any, everybody may come in (on loopback: HttpServer refuses elsewhere)."""

    level: Level
    keys: tuple[tuple[bytes, Principal], ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those that the settings name."""
        mcp, level = settings.mcp, settings.permission.mcp_allow
        keys = [(bytes.fromhex(token.digest), principal(token)) for token in mcp.tokens]
        if mcp.auth_token:
            keys.append((digest(mcp.auth_token.reveal()), Principal(DEFAULT, "http", level)))
        return cls(level, tuple(keys))

    @property
    def open(self) -> bool:
        """Whether no token is asked for."""
        return not self.keys

    @property
    def anybody(self) -> Principal:
        """Who comes where no token is asked for."""
        return Principal(NOBODY, "http", self.level)

    def find(self, token: str) -> Principal | None:
        """Whose token this is. It takes as long for a wrong one as for any right one."""
        given, found = digest(token), None
        for known, owner in self.keys:
            if hmac.compare_digest(known, given):
                found = owner
        return found


def required(mcp: McpSettings) -> bool:
    """Whether a token is asked for."""
    return bool(mcp.auth_token or mcp.tokens)


def principal(token: NamedToken) -> Principal:
    """Its owner."""
    return Principal(token.name, "http", token.level, token.toolsets, token.limits, named=True)


def digest(token: str) -> bytes:
    """SHA-256: a token is random, so nothing slower is needed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
