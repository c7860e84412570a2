import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from dotenv.parser import parse_stream

from mqtt_bridge.settings import load
from mqtt_bridge.settings.later import LATER
from mqtt_bridge.settings.table import FIXED, GROUPS, HOST_ROWS, ROWS, TABLE

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def make_docs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_docs", ROOT / "scripts" / "make_docs.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_no_drift() -> None:
    done = subprocess.run(
        [sys.executable, "scripts/make_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


def test_drift_is_named(
    make_docs: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(make_docs, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["make_docs.py", "--check"])
    assert make_docs.main() == 1
    assert ".env.example is not what the code says" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["make_docs.py"])
    assert make_docs.main() == 0
    assert (tmp_path / "docs" / "configuration.md").exists()


def test_the_example_shows_every_setting_that_works_and_none_of_later(make_docs: ModuleType) -> None:
    keys = set(re.findall(r"^#([A-Z_]+)=", make_docs.env_example(), flags=re.MULTILINE))
    assert keys == {row.key for row in FIXED} | {f"N_{row.key}" for row in HOST_ROWS} | {"N_HOSTS"}


def test_the_example_as_it_is_sets_nothing(make_docs: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(make_docs.env_example())
    with (tmp_path / ".env").open() as file:
        assert [b.key for b in parse_stream(file) if b.key or b.error] == []


def test_every_setting_is_in_the_documentation(make_docs: ModuleType) -> None:
    text = make_docs.configuration()
    assert [row.key for row in FIXED if f"| `{row.key}` |" not in text] == []
    listed = text.split("## Not available yet")[1]
    patterns = re.findall(r"`([A-Z_]+)(\*?)`", listed)
    missing = [
        row.key
        for row in LATER
        if not any(row.key == name or (star and row.key.startswith(name)) for name, star in patterns)
    ]
    assert missing == []


def test_the_table_is_sound() -> None:
    assert len(ROWS) == len(TABLE)
    assert {row.group for row in FIXED} | {"host"} == set(GROUPS)
    assert [row.key for row in FIXED if not row.help.endswith(".")] == []
    assert [row.key for row in FIXED if row.part] == []
    assert [row.key for row in LATER if not row.part] == []


def test_every_default_of_the_table_passes_its_own_check() -> None:
    for row in FIXED:
        if row.default:
            row.shape(row.default)


@pytest.mark.parametrize("block", range(3))
def test_every_example_of_hosts_in_the_documentation_loads(make_docs: ModuleType, block: int) -> None:
    examples = re.findall(r"```\n(.*?)```", make_docs.configuration(), flags=re.DOTALL)
    assert len(examples) == 3
    lines = dict(line.split("=", 1) for line in examples[block].splitlines() if "=" in line)
    lines = {k: "s3cret-s3cret" if k.endswith("VALUE") else v for k, v in lines.items() if not k.endswith("CA_FILE")}
    if "PBS_NODES" in lines:
        lines |= {f"PBS1_{k}": v for k, v in {"HOST": "h", "USER": "a@pbs!t", "TOKEN_VALUE": "s"}.items()}
        lines |= {"PVE_2_USER": "a@pve!t", "PVE_2_TOKEN_VALUE": "s"}
    assert load(lines, search=False).sites
