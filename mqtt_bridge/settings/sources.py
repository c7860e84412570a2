"""Where settings come from: single ones given on purpose, the process environment, `.env`, and files of secrets."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import voluptuous as vol

from mqtt_bridge.secret import STARS
from mqtt_bridge.settings.row import SECRET_FILE, Row

Origin = Literal["default", "environment", ".env", "override"]

_PARENTS = 5
_MAX_ENV_BYTES = 256 * 1024
_MAX_SECRET_BYTES = 16 * 1024
_SECRETS = ("_TOKEN_VALUE", "_PASSWORD", "_AUTH_TOKEN")
_SCRUBBED_FROM = 4  # shorter secrets would blot out ordinary words


@dataclass
class Report:
    """What is to be said to people at the end: mistakes that stop the start, and what only deserves a word."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def problem(self, key: str, text: str) -> None:
        self.problems.append(f"{key} {text}")

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@dataclass(frozen=True)
class Given:
    """A value as written, and where."""

    text: str
    origin: Origin


class Sources:
    """Every value as written; parsed on demand, each once, with its mistakes going to the report."""

    def __init__(self, report: Report, env_file: Path | None = None) -> None:
        self.report = report
        self.env_file = env_file
        self.given: dict[str, Given] = {}
        self.invalid: set[str] = set()
        self._values: dict[str, Any] = {}
        self._secrets: set[str] = set()

    def add(self, values: Mapping[str, str], origin: Origin) -> None:
        """Lay `values` over what is there. What must be a secret by its name is scrubbed, whether it is read or not."""
        self.given.update({key: Given(text.strip(), origin) for key, text in values.items()})
        secrets = (text.strip() for key, text in values.items() if key.endswith(_SECRETS))
        self._secrets |= {text for text in secrets if len(text) >= _SCRUBBED_FROM}

    def has(self, key: str) -> bool:
        """Whether the key, or the file of its secret, is set to something."""
        return any(self.given[k].text for k in (key, key + SECRET_FILE) if k in self.given)

    def origin(self, key: str) -> Origin:
        found = next((self.given[k] for k in (key, key + SECRET_FILE) if k in self.given and self.given[k].text), None)
        return found.origin if found else "default"

    def value(self, row: Row) -> Any:
        """The parsed value, the parsed default, or None where there is neither or the value is wrong."""
        if row.key not in self._values:
            self._values[row.key] = self._parse(row)
        return self._values[row.key]

    def of(self, origin: Origin) -> Iterator[str]:
        """The keys whose value in force was given there."""
        return (key for key, given in self.given.items() if given.origin == origin)

    def scrub(self, text: str) -> str:
        """`text` without any secret that was given, in case one was written under another key too."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, STARS)
        return text

    def _parse(self, row: Row) -> Any:
        text = self._text(row) or row.default
        if not text:
            return None
        if row.shape.file and not text.startswith("~"):
            text = str(self._folder(row.key) / text)
        try:
            return vol.Schema({row.key: row.shape})({row.key: text})[row.key]
        except vol.MultipleInvalid as error:
            self.invalid.add(row.key)
            self.report.problem(row.key, f"{error.errors[0].msg}.")
            return None

    def _folder(self, key: str) -> Path:
        in_file = self.env_file and key in self.given and self.given[key].origin == ".env"
        return self.env_file.parent if in_file and self.env_file else Path()

    def _text(self, row: Row) -> str:
        text = self.given[row.key].text if row.key in self.given else ""
        if not row.secret:
            return text
        file = self.given.get(row.key + SECRET_FILE)
        if file and file.text:
            if text:
                self.report.problem(row.key, f"and {row.key}{SECRET_FILE} are both set: keep one of them.")
            text = self._from_file(row.key + SECRET_FILE, file.text)
            if not text:
                self.invalid.add(row.key)
        if len(text) >= _SCRUBBED_FROM:
            self._secrets.add(text)
        return text

    def _from_file(self, key: str, name: str) -> str:
        try:
            text = _read(self._folder(key) / Path(name).expanduser(), _MAX_SECRET_BYTES).strip()
        except (OSError, ValueError, RuntimeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.report.problem(key, f"names a file that cannot be used ({reason}): correct the path or its rights.")
            return ""
        if not text:
            self.report.problem(key, "names a file that is empty: write the secret into it.")
        return text


def collect(
    report: Report,
    environ: Mapping[str, str],
    env_file: Path | None = None,
    *,
    search: bool = True,
    overrides: Mapping[str, str] | None = None,
) -> Sources:
    """Everything that is written anywhere: `overrides` before the environment before `.env`."""
    path = env_file or (find_env_file(Path.cwd()) if search else None)
    sources = Sources(report, path)
    if path:
        sources.add(_env_values(path, report), ".env")
    sources.add(environ, "environment")
    sources.add(overrides or {}, "override")
    return sources


def find_env_file(folder: Path) -> Path | None:
    """`.env` in `folder` or the nearest of up to five parents."""
    candidates = (place / ".env" for place in (folder, *list(folder.parents)[:_PARENTS]))
    return next((path for path in candidates if path.is_file()), None)


def _env_values(path: Path, report: Report) -> dict[str, str]:
    from io import StringIO  # noqa: PLC0415 - with dotenv: only where there is a file

    from dotenv.parser import parse_stream  # noqa: PLC0415 - slow to import, and most servers have no file

    try:
        text = _read(path, _MAX_ENV_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        report.problem(str(path), f"cannot be read ({reason}): correct the path or its rights.")
        return {}
    values: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        written = binding.original.string
        line = binding.original.line + written[: len(written) - len(written.lstrip())].count("\n")
        if binding.error or (binding.key and binding.value is None):
            report.problem(f"{path} line {line}", "is not KEY=value: correct it, or begin it with # to leave it out.")
        elif binding.key:
            if binding.key in values:
                report.warning(f"{binding.key} is in {path} twice; the one in line {line} counts.")
            values[binding.key] = binding.value or ""
    return values


def _read(path: Path, limit: int) -> str:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"larger than {limit // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("not text in UTF-8") from error
