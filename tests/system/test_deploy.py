"""What is handed to systemd and Docker names what there is. docs/running.md says how it is used."""

import configparser
import fnmatch
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxmox_mcp.cli import parser

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "deploy" / "proxmox-mcp.service"


def dockerfile(word: str) -> list[list[str]]:
    """The instructions of this name, each as its words; lines that go on are one."""
    text = re.sub(r"\\\n", " ", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith(f"{word} ")]


def service() -> dict[str, Any]:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    found: dict[str, Any] = compose["services"]["proxmox-mcp"]
    return found


def test_all_that_the_wheel_is_made_of_is_copied_and_reaches_docker() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {"pyproject.toml", project["project"]["readme"], *project["project"]["license-files"], *packages}
    copied = {source for words in dockerfile("COPY") if not words[0].startswith("--") for source in words[:-1]}
    assert copied == needed
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert lines[0] == "*"
    assert all(any(fnmatch.fnmatch(f"!{name}", line) for line in lines) for name in needed)


def test_the_image_starts_as_a_user_what_the_command_line_knows() -> None:
    (entry,), (command,) = dockerfile("ENTRYPOINT"), dockerfile("CMD")
    assert parser().parse_args([word.strip("[],") for word in command]).command == "serve"
    assert [word.strip("[],") for word in entry] == ["proxmox-mcp"]
    (user,) = dockerfile("USER")
    made = [word for words in dockerfile("RUN") for word in words]
    assert user[0] in made[made.index("useradd") :]
    (extra,) = re.findall(r"'\.\[(\w+)\]'", (ROOT / "Dockerfile").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert extra in project["optional-dependencies"]
    (base, _, _), _ = dockerfile("FROM")
    assert f"Programming Language :: Python :: {base.partition(':')[2].partition('-')[0]}" in project["classifiers"]


def test_the_state_is_kept_in_a_volume() -> None:
    (volume,) = dockerfile("VOLUME")
    assert f"STATE_DIR={volume[0]}" in dockerfile("ENV")[0]
    assert service()["volumes"] == [f"state:{volume[0]}"]


def test_the_health_check_is_code_and_asks_what_is_open() -> None:
    test = service()["healthcheck"]["test"]
    assert test[:3] == ["CMD", "python", "-c"]
    compile(test[3], "healthcheck", "exec")
    assert "/health'" in test[3]


def test_the_unit_starts_what_the_command_line_knows_with_its_state_where_it_may_write() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(UNIT)
    section = unit["Service"]
    _, *words = shlex.split(section["ExecStart"])
    assert parser().parse_args(words).command == "serve"
    assert section["Environment"] == f"STATE_DIR=/var/lib/{section['StateDirectory']}"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="no systemd here")
def test_systemd_finds_nothing_unknown_in_the_unit() -> None:
    told = subprocess.run(["systemd-analyze", "verify", str(UNIT)], capture_output=True, text=True, check=False).stderr
    lines = [line for line in told.splitlines() if UNIT.name in line and "is not executable" not in line]
    assert lines == []
