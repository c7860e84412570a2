"""Writes what the documentation takes from the code, so that neither can tell something else.

    scripts/make_docs.py            writes the files
    scripts/make_docs.py --check    fails, naming them, if a file is not what it would write

A further file is one more row of DOCS.
"""

import argparse
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from docs_events import events
from docs_homeassistant import homeassistant
from docs_tools import schemas, tools
from docs_topics import topics

from mqtt_bridge.settings.later import LATER
from mqtt_bridge.settings.row import Row
from mqtt_bridge.settings.table import FIXED, GROUPS, HOST_ROWS, HOSTS_ROW

ROOT = Path(__file__).resolve().parent.parent

_LISTED = 3  # so many keys of one thing are listed; more are one pattern

ENV_HEAD = """\
# Settings of proxmox-mcp. Copy this file to .env and take the # away where you write something.
# The process environment wins over this file. An empty value is the default.
# For every secret there is also KEY_FILE, which names a file that holds it.
# docs/configuration.md explains every line. `proxmox-mcp check` tries all of it out.
"""

CONFIGURATION_HEAD = """\
# Configuration

This page is made from the code by `scripts/make_docs.py`.

Settings come from the process environment, then from `.env` (in the current folder or up to five parents, or the file
given with `--env-file`). The environment wins. `proxmox-mcp config` shows what is in force and from where, without
secrets; `proxmox-mcp check` tries it out. Changing a setting means restarting.

- An empty value is the default.
- True is `1 true yes on`, false is `0 false no off`.
- A time is a number of seconds (milliseconds where it says so) or has a unit: `30s`, `5m`, `1h`.
- A list is comma separated.
- A relative path in `.env` is relative to the folder of that file.
- Every secret can be kept in a file of its own: `MQTT_PASSWORD_FILE=/run/secrets/mqtt` instead of `MQTT_PASSWORD`.
- All mistakes are reported at once, each by its key, and the exit code is 2. A key of `.env` that looks like ours but
  is no setting is a mistake.

## Which hosts

The least that works is one Proxmox VE host and an API token (`proxmox-mcp check` shows the fingerprint to pin and,
where rights are missing, the lines that grant them):

```
PROXMOX_HOST=192.0.2.10
PROXMOX_USER=proxmox-mcp@pve
PROXMOX_TOKEN_NAME=mqtt
PROXMOX_TOKEN_VALUE=xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx
```

Several hosts and Backup Servers, each a site of its own, `proxmox/pve1/…`, `proxmox/pbs1/…` on MQTT:

```
PVE_NODES=pve1,pve-2
PBS_NODES=pbs1
PVE1_HOST=192.0.2.11
PVE1_USER=proxmox-mcp@pve
PVE1_TOKEN_NAME=mqtt
PVE1_TOKEN_VALUE=…
PVE_2_HOST=192.0.2.12:8006
…
```

A cluster is one site. Its further nodes are found by asking it; those named here are asked even if the first is away at
the start. Their user, token, CA and check of the certificate are those of the first unless they have their own:

```
PVE_CLUSTER_NAME=lab
PVE_CLUSTER_PRIMARY_HOST=192.0.2.11
PVE_CLUSTER_PRIMARY_USER=proxmox-mcp@pve
PVE_CLUSTER_PRIMARY_TOKEN_NAME=mqtt
PVE_CLUSTER_PRIMARY_TOKEN_VALUE=…
PVE_CLUSTER_PRIMARY_CA_FILE=/etc/proxmox-mcp/pve-root-ca.pem
PVE_CLUSTER_SUBNODES=pve2,pve3
PVE2_HOST=192.0.2.12
PVE3_HOST=192.0.2.13
```

Several clusters: `PVE_CLUSTERS=site1,site2`, and for each `SITE1_HOSTS` (a list), `SITE1_USER`, `SITE1_TOKEN_NAME`, ….

`LAB_CONFIGURATION` says which of these are read: `STANDALONE` (`PVE_NODES`, `PBS_NODES`), `CLUSTERED` (`PVE_CLUSTER_…`,
`PVE_CLUSTERS`, `PBS_CLUSTER_…`), `MIXED` (all). Without it all are. The short form is read always.

A name stands in keys in capitals, with `-` as `_`. Where that makes a setting of something else (a node named `mqtt`
would have its address in `MQTT_HOST`), write `PVE_NODE_MQTT_HOST`, `PVE_NODE_MQTT_USER` and so on
(`PBS_NODE_…` for a Backup Server). The user may be written with its token, `proxmox-mcp@pve!mqtt`.

On MQTT a name is lower case, and whatever is not a letter, digit, `_` or `-` becomes `-`. `bridge` and `unassigned` are
taken.

## Settings
"""

LATER_HEAD = """\
## Not available yet

These are for later versions. One that is set is reported by `proxmox-mcp check` and at the start, and does nothing.
"""


def env_example() -> str:
    """`.env.example`: everything commented out, with its default or an example."""
    return ENV_HEAD + "".join(
        f"\n# --- {title} ---\n" + "".join(_env_row(row) for row in _rows(group)) for group, title in GROUPS.items()
    )


def _env_row(row: Row) -> str:
    name = f"N_{row.key}" if row.group == "host" else row.key
    text = f"{row.help} {_default(row)}".strip()
    return f"# {text}\n#{name}={row.default or row.example}\n"


def configuration() -> str:
    """`docs/configuration.md`: a table for each group, and the list of what is to come."""
    tables = "\n".join(f"### {title}\n\n{_table(_rows(group))}" for group, title in GROUPS.items())
    parts = dict.fromkeys(row.part for row in LATER)
    later = "\n".join(f"- {part}: {_keys([row.key for row in LATER if row.part == part])}" for part in parts)
    return f"{CONFIGURATION_HEAD}\n{tables}\n{LATER_HEAD}\n{later}\n"


def _rows(group: str) -> Iterable[Row]:
    return (*HOST_ROWS, HOSTS_ROW) if group == "host" else (row for row in FIXED if row.group == group)


def _table(rows: Iterable[Row]) -> str:
    head = "| setting | what it is | value | default |\n| --- | --- | --- | --- |\n"
    return head + "".join(
        f"| `{'N_' if row.group == 'host' else ''}{row.key}` | {row.help} | {row.shape.text}{' (secret)' * row.secret} "
        f"| {f'`{row.default}`' if row.default else row.unset} |\n"
        for row in rows
    )


def _keys(keys: list[str]) -> str:
    thing = keys[0].removesuffix("ENABLED")
    if len(keys) > _LISTED and thing.endswith("_") and all(key.startswith(thing) for key in keys):
        return f"`{thing}*`"
    return ", ".join(f"`{key}`" for key in keys)


def _default(row: Row) -> str:
    if row.default or row.unset:
        return f"({'default ' if row.default else 'not set: '}{row.default or row.unset})"
    return ""


DOCS: tuple[tuple[str, Callable[[], str]], ...] = (
    (".env.example", env_example),
    ("docs/configuration.md", configuration),
    ("docs/topics.md", topics),
    ("docs/events.md", events),
    ("docs/homeassistant.md", homeassistant),
    ("docs/tools.md", tools),
    ("proxmox_mcp/tools/schemas.json", schemas),
)


def main() -> int:
    """Writes or checks; the exit code is 1 if a checked file has drifted."""
    parser = argparse.ArgumentParser(description="Writes what the documentation takes from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing, fail if a file would change")
    check = parser.parse_args().check
    drifted = [name for name, make in DOCS if _current(ROOT / name) != make()]
    for name, make in DOCS:
        if name in drifted and not check:
            (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
            (ROOT / name).write_text(make(), encoding="utf-8")
    for name in drifted:
        print(f"{name} is not what the code says: run scripts/make_docs.py" if check else f"wrote {name}")
    return 1 if check and drifted else 0


def _current(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
