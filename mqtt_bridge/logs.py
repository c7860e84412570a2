"""Logging set up once, on standard error or in a rotated file: standard output belongs to what a command prints."""

import json
import logging
import logging.handlers
import sys
import time

from mqtt_bridge.settings import GeneralSettings, Settings

log = logging.getLogger(__name__)

FILE_BYTES = 5_000_000
FILES = 5
NOISY = (
    "amqtt",
    "transitions",
    "aiohttp.access",
    "urllib3",
    "uvicorn",
    "mcp",
    "asyncio",
    "proxmoxer",
    "httpx",
    "httpx2",
)


class JsonFormatter(logging.Formatter):
    """One object per line: time, level, logger, message and, where there is one, the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def set_up(general: GeneralSettings, *, quiet: bool = False) -> None:
    """Configure the root logger; `quiet` keeps the terminal for a live view and lets only the file have it all."""
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if general.log_file:
        handler = logging.handlers.RotatingFileHandler(
            general.log_file, maxBytes=FILE_BYTES, backupCount=FILES, encoding="utf-8"
        )
    elif quiet:
        handler = logging.NullHandler()
    if general.log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S"))
    logging.basicConfig(level=general.log_level, handlers=[handler], force=True)
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLevelName(general.log_level)))


def begin(settings: Settings) -> None:
    """Set up for a service, which first says what is set and has no effect, or deserves a second thought."""
    set_up(settings.general)
    for sentence in (*settings.warnings, *settings.unavailable):
        log.warning("%s", sentence)
