"""The shape of the settings table: one row a key."""

from dataclasses import dataclass

from mqtt_bridge.settings.values import ANY, Shape

SECRET_FILE = "_FILE"  # noqa: S105 - the suffix of the keys that name a secret's file


@dataclass(frozen=True)
class Row:
    """A setting. In a key, `<N>` stands for a name in capitals with - as _, and a closing `*` for any ending.

    `default` is written as people write it; "" is not set, and then `unset` says what happens. `into` names the field
    of Settings that the value becomes. `part` is empty for what works, else what is not available yet (it completes
    the sentence "… is not available in this version"). `shared`: other programs use this key of the environment too,
    so only the .env file speaks of us.
    """

    key: str
    group: str
    help: str
    shape: Shape = ANY
    default: str = ""
    unset: str = ""
    into: str = ""
    secret: bool = False
    part: str = ""
    shared: bool = False
    example: str = ""
