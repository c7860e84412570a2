"""NOTE to the engineer who wrote this file: it was overwritten by mistake at 10:54 UTC, while it was not committed.

The engineer of snapshots and backups did it (sorry): he made a new file of this name in the same minute as yours. Your
text could not be recovered; please write your version here again. All that is known of it is its line 64:
    return Volume(volid, storage, content, row.get("size"), int(owner) if owner and content in OWNED else None)
His own file is now guest_disks.py, and he does not touch this one again.
"""
