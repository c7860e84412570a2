"""Whether a broker binds `decision/<who>` to the user: our own user tries to decide in somebody else's name.

Only a broker that says no to that binds names for everybody, a user that others share with us included.
"""

import secrets

from mqtt_bridge.errors import BrokerRefusedError
from mqtt_bridge.mqtt.broker import Broker
from mqtt_bridge.topics import Topics

PROBE = "0" * 32  # the id of no approval: what is decided about it is a question to the broker
FREE = (
    "APPROVAL_MQTT=broker: the broker lets our own user decide in anybody's name, so it may let others too. "
    "Give it the ACL of docs/approvals.md."
)
TOO_OLD = "APPROVAL_MQTT=broker needs MQTT 5: before that a broker does not say what it refuses."
ANYBODY = "APPROVAL_MQTT=broker: this broker has no ACL, so a name in a topic proves nothing."


async def unbound(bus: Broker, names: Topics, site: str) -> str:
    """Why a name in a topic proves nothing at this broker; empty: it does. Raises BrokerUnreachableError."""
    if bus.protocol != "5":
        return TOO_OLD
    who = f"probe-{secrets.token_hex(4)}"
    try:
        await bus.publish(names.build("approval_decision", site=site, id=PROBE, who=who), b'{"decision":"reject"}')
    except BrokerRefusedError:
        return ""
    return FREE
