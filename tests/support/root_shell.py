"""Runs lines of pveum and proxmox-backup-manager against a lab, as root on its hosts would."""

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from aiohttp import ClientSession, TCPConnector

from proxmox_mcp.lab import Lab

Call = tuple[str, str, dict[str, str]]


def _options(words: list[str]) -> dict[str, str]:
    assert len(words) % 2 == 0, words
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def _pveum(words: list[str]) -> Call:
    match words:
        case ["user", "add", user, *rest]:
            return "POST", "/access/users", {"userid": user, **_options(rest)}
        case ["user", "token", "add", user, name, *rest]:
            return "POST", f"/access/users/{quote(user)}/token/{name}", _options(rest)
        case ["role", "add", role, *rest]:
            return "POST", "/access/roles", {"roleid": role, **_options(rest)}
        case ["role", "modify", role, *rest]:
            return "PUT", f"/access/roles/{role}", _options(rest)
        case ["acl", "modify", path, *rest]:
            return "PUT", "/access/acl", {"path": path, **_options(rest)}
    raise AssertionError(words)


def _manager(words: list[str]) -> Call:
    match words:
        case ["user", "create", user, *rest]:
            return "POST", "/access/users", {"userid": user, **_options(rest)}
        case ["user", "generate-token", user, name]:
            return "POST", f"/access/users/{quote(user)}/token/{name}", {}
        case ["acl", "update", path, role, *rest]:
            return "PUT", "/access/acl", {"path": path, "role": role, **_options(rest)}
    raise AssertionError(words)


_PROGRAMS: Mapping[str, Callable[[list[str]], Call]] = {"pveum": _pveum, "proxmox-backup-manager": _manager}


@dataclass
class RootShell:
    """Both hosts' shells in one. `printed` are the values of the tokens that were made, by their full names."""

    lab: Lab
    printed: dict[str, str] = field(default_factory=dict)

    async def run(self, lines: Iterable[str]) -> None:
        """Every line must be understood and succeed, in one of its parts where these are joined by `||`."""
        async with ClientSession(connector=TCPConnector(ssl=False)) as session:
            for line in lines:
                said = []
                for part in line.split(" || "):
                    program, *words = shlex.split(part)
                    if not (wrong := await self._ask(session, program, *_PROGRAMS[program](words))):
                        break
                    said.append(wrong)
                else:
                    raise AssertionError(line, said)

    async def _ask(self, session: ClientSession, program: str, method: str, path: str, params: dict[str, str]) -> str:
        """Empty, or what is wrong."""
        root = "root@pam!full"
        url, login = (
            (self.lab.api_urls[0], f"PVEAPIToken={root}={self.lab.token_value}")
            if program == "pveum"
            else (self.lab.pbs_urls[0], f"PBSAPIToken={root}:{self.lab.token_value}")
        )
        headers = {"Authorization": login}
        async with session.request(method, f"{url}/api2/json{path}", headers=headers, data=params) as answer:
            if answer.status != 200:
                return f"{method} {path} {params}: {answer.reason} {await answer.text()}"
            data: Any = (await answer.json())["data"]
        if isinstance(data, dict) and "value" in data:
            self.printed[data.get("full-tokenid") or data["tokenid"]] = data["value"]
        return ""


def shell_lines(text: str) -> list[str]:
    """Those of a printed text that are commands."""
    return [line for line in text.splitlines() if line.split(" ")[0] in _PROGRAMS]


def env_lines(text: str) -> dict[str, str]:
    """Those that belong into .env."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.startswith("#") and " " not in line[:20])
    return {key: value for key, equals, value in pairs if equals}
