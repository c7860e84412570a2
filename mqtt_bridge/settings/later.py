"""Settings of later versions. One that is set is reported as not available yet, never silently ignored.

When a part arrives, its rows move to `table` with a validator and the field that they fill.
"""

from mqtt_bridge.settings import values as v
from mqtt_bridge.settings.row import Row


def _rows(group: str, part: str, *keys: str, default: str = "") -> tuple[Row, ...]:
    """Rows by key; a key written as KEY=value has that default."""
    rows = []
    for key in keys:
        name, _, value = key.partition("=")
        shape = v.BOOLEAN if (value or default) in {"true", "false"} else v.ANY
        rows.append(Row(name, group, "", shape, value or default, part=part))
    return tuple(rows)


LATER: tuple[Row, ...] = (
    *_rows("general", "the agent", "ENABLE_AGENT=false", "AGENT_SERVER_URL", "AGENT_RULES_FILE"),
    Row("AGENT_*", "general", "", part="the agent", shared=True),
    *_rows("permission", "control by rules", "RULES_ALLOW=read"),
)
