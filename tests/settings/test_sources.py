from collections.abc import Callable
from pathlib import Path

import pytest

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.settings import load

EnvFile = Callable[[str], Path]
SECRET = "s3cr3t-value-of-a-token"


def _text(short: dict[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in short.items())


def test_the_environment_wins_over_the_file_and_overrides_over_both(short: dict[str, str], env_file: EnvFile) -> None:
    path = env_file(_text(short) + "PROXMOX_SITE=a\nBRIDGE_NAME=a\nMQTT_BASE_TOPIC=a\n")
    settings = load({"BRIDGE_NAME": "b", "MQTT_BASE_TOPIC": "b"}, path, overrides={"MQTT_BASE_TOPIC": "c"})
    assert settings.sites[0].slug == "a"
    assert settings.general.bridge_name == "b"
    assert settings.mqtt.base_topic == "c"
    assert settings.env_file == path


def test_an_empty_value_hides_the_file_and_means_the_default(short: dict[str, str], env_file: EnvFile) -> None:
    path = env_file(_text(short) + "BRIDGE_NAME=a\n")
    assert load({"BRIDGE_NAME": ""}, path).general.bridge_name == "main"


@pytest.mark.parametrize(("depth", "found"), [(0, True), (1, True), (5, True), (6, False)])
def test_the_file_is_looked_for_in_five_parents(
    short: dict[str, str], env_file: EnvFile, monkeypatch: pytest.MonkeyPatch, depth: int, found: bool
) -> None:
    folder = env_file("PROXMOX_SITE=from-file\n").parent.joinpath(*"abcdef"[:depth])
    folder.mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(folder)
    assert load(short).sites[0].slug == ("from-file" if found else "pve")


def test_the_nearest_file_is_taken_and_none_without_search(
    short: dict[str, str], env_file: EnvFile, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file("PROXMOX_SITE=far\n")
    (tmp_path / "near").mkdir()
    (tmp_path / "near" / ".env").write_text("PROXMOX_SITE=near\n")
    monkeypatch.chdir(tmp_path / "near")
    assert load(short).sites[0].slug == "near"
    assert load(short, search=False).sites[0].slug == "pve"
    assert load(short, search=False).env_file is None


def test_quotes_comments_export_and_a_dollar(short: dict[str, str], env_file: EnvFile) -> None:
    path = env_file(
        "\ufeff# a comment\r\nexport MQTT_HOST='broker' # here\r\n"
        'MQTT_USERNAME=me\r\nMQTT_PASSWORD="a${HOME}b #c"\r\n'
    )
    mqtt = load(short, path).mqtt
    assert mqtt.host == "broker"
    assert mqtt.password is not None
    assert mqtt.password.reveal() == "a${HOME}b #c"


def test_a_line_that_is_no_setting_is_told_by_its_number_only(short: dict[str, str], env_file: EnvFile) -> None:
    path = env_file(f"\n# fine\n\nPROXMOX_SITE=x\n{SECRET}\nMQTT_PASSWORD='{SECRET}\n")
    with pytest.raises(SettingsError) as caught:
        load(short, path)
    assert [problem.split(" is ")[0] for problem in caught.value.problems] == [f"{path} line 5", f"{path} line 6"]
    assert SECRET not in str(caught.value)


def test_a_key_written_twice_is_told(short: dict[str, str], env_file: EnvFile) -> None:
    settings = load(short, env_file("BRIDGE_NAME=a\nBRIDGE_NAME=b\n"))
    assert settings.general.bridge_name == "b"
    assert "BRIDGE_NAME" in settings.warnings[0]
    assert "line 2" in settings.warnings[0]


def test_a_named_file_that_is_missing_is_a_problem(short: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere.env cannot be read \(No such file"):
        load(short, tmp_path / "nowhere.env")


def test_a_file_of_a_secret(short: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"  {SECRET}\n")
    del short["PROXMOX_TOKEN_VALUE"]
    settings = load({**short, "PROXMOX_TOKEN_VALUE_FILE": str(tmp_path / "token")}, search=False)
    assert settings.sites[0].endpoints[0].token_value.reveal() == SECRET


def test_a_relative_path_in_the_file_is_relative_to_it(
    short: dict[str, str], env_file: EnvFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mcp-token").write_text(SECRET)
    (tmp_path / "ca.pem").write_text("x")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    settings = load(short, env_file("MCP_AUTH_TOKEN_FILE=mcp-token\nPROXMOX_CA_FILE=ca.pem\n"))
    assert settings.mcp.auth_token is not None
    assert settings.mcp.auth_token.reveal() == SECRET
    assert settings.sites[0].endpoints[0].ca_file == tmp_path / "ca.pem"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"x" * 20_000, "larger than 16 KiB"),
        (b"\xff\xfe\x00", "not text"),
        (None, "No such file"),
    ],
)
def test_a_file_of_a_secret_that_is_no_use(
    short: dict[str, str], tmp_path: Path, content: bytes | None, reason: str
) -> None:
    if content is not None:
        (tmp_path / "password").write_bytes(content)
    environ = {**short, "MQTT_HOST": "b", "MQTT_USERNAME": "u", "MQTT_PASSWORD_FILE": str(tmp_path / "password")}
    with pytest.raises(SettingsError, match=reason) as caught:
        load(environ, search=False)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith("MQTT_PASSWORD_FILE ")


def test_a_secret_and_its_file_at_once_is_a_problem(short: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text(SECRET)
    with pytest.raises(SettingsError, match="PROXMOX_TOKEN_VALUE_FILE are both set") as caught:
        load({**short, "PROXMOX_TOKEN_VALUE_FILE": str(tmp_path / "token")}, search=False)
    assert SECRET not in str(caught.value)
