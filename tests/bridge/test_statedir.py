"""STATE_DIR has one owner at a time, and nothing in it is for others' eyes."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mqtt_bridge.errors import BridgeError, StateDirBusyError
from mqtt_bridge.mqtt.broker import BrokerOptions
from mqtt_bridge.secret import Secret
from mqtt_bridge.statedir import ENDPOINT, StateDir, local_owner

OWNER = """
import asyncio, sys, pathlib
from mqtt_bridge.statedir import StateDir
async def main():
    async with StateDir(pathlib.Path(sys.argv[1])):
        print("mine", flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_a_second_owner_is_told_who_the_first_is(tmp_path: Path) -> None:
    async with StateDir(tmp_path / "state"):
        with pytest.raises(StateDirBusyError, match=str(os.getpid())):
            async with StateDir(tmp_path / "state"):
                pass
    async with StateDir(tmp_path / "state"):
        pass


async def test_the_lock_dies_with_its_process(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "mine\n"
        with pytest.raises(StateDirBusyError):
            async with StateDir(tmp_path):
                pass
        owner.send_signal(signal.SIGKILL)
    time.sleep(0.05)
    async with StateDir(tmp_path):
        pass


async def test_the_broker_is_told_to_those_who_may_know(tmp_path: Path) -> None:
    options = BrokerOptions("127.0.0.1", 1884, "bridge", Secret("very secret"))
    assert local_owner(tmp_path) is None
    async with StateDir(tmp_path) as state:
        state.tell(options, "proxmox")
        found = local_owner(tmp_path)
        assert found is not None
        assert (found.options, found.base_topic) == (options, "proxmox")
        assert stat.S_IMODE((tmp_path / ENDPOINT).stat().st_mode) == 0o600
    assert local_owner(tmp_path) is None


async def test_a_file_left_by_a_crash_is_not_believed(tmp_path: Path) -> None:
    async with StateDir(tmp_path) as state:
        state.tell(BrokerOptions("127.0.0.1", 1), "proxmox")
        left = (tmp_path / ENDPOINT).read_text()
    (tmp_path / ENDPOINT).write_text(left)
    assert local_owner(tmp_path) is None


async def test_a_folder_that_cannot_be_made_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BridgeError, match="STATE_DIR .* cannot be created"):
        async with StateDir(tmp_path / "file" / "below"):
            pass


async def test_a_folder_that_cannot_be_written_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(BridgeError, match="STATE_DIR .* cannot be written"):
        async with StateDir(tmp_path):
            pass


async def test_a_broker_is_told_whole(tmp_path: Path) -> None:
    """Who reads endpoint.json must speak to the broker as its owner does: in the same version, over the same TLS."""
    options = BrokerOptions(
        "127.0.0.1", 4711, tls=True, ca_file=tmp_path / "ca", transport="websockets", protocol="3.1.1"
    )
    async with StateDir(tmp_path) as state:
        state.tell(options, "proxmox")
        found = local_owner(tmp_path)
        assert found is not None
        assert found.options == options
