"""Ids of approvals cannot be guessed."""

import secrets
from pathlib import Path

import pytest

from tests.approvals.making import Desk, pending


async def test_ids_are_128_bits_of_the_system_s_randomness(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    real = secrets.token_hex

    def counted(size: int) -> str:
        asked.append(size)
        return real(size)

    monkeypatch.setattr(secrets, "token_hex", counted)
    async with Desk(tmp_path).approvals() as approvals:
        ids = {(await pending(approvals, vmid=100 + number)).id for number in range(10)}
    assert len(ids) == 10
    assert all(len(each) == 32 for each in ids)
    assert min(asked) >= 16
