"""x"""

from mqtt_bridge.approvals import proofs, store
from mqtt_bridge.approvals.approvals import Approvals


async def make_code(approvals: Approvals, given: str, approver: str) -> str:
    """A one-time code for this approver and approval; one that was made before is dead."""
    code = proofs.new_code()
    mac = proofs.code_mac(approvals.db.key, given, approver, code)
    await approvals.db.write(lambda c: store.put_code(c, given, approver.casefold(), mac))
    return code
