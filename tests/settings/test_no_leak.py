"""Whatever is wrong, and wherever a secret was written, no message and no repr shows it."""

import pickle

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mqtt_bridge.errors import SettingsError
from mqtt_bridge.settings import describe, load
from mqtt_bridge.settings.table import FIXED

_SECRET = st.text(alphabet="abcdefABCDEF0123456789!=@:/ -+", min_size=12, max_size=40).map(lambda t: f"Zq{t.strip()}qZ")
_KEYS = st.sampled_from([row.key for row in FIXED] + ["PVE1_HOST", "PVE1_USER", "PVE1_TOKEN_NAME", "PVE1_TOKEN_VALUE"])


@given(st.dictionaries(_KEYS, _SECRET, min_size=1), _SECRET)
@example({"PVE_NODES": "Zq000000000000qZ"}, "Zq000000000000qZ")
def test_no_secret_in_a_report_or_settings(written: dict[str, str], token: str) -> None:
    environ = {"PVE_NODES": "pve1", "PVE1_TOKEN_VALUE": token, **written}
    secrets = {text for key, text in environ.items() if key.endswith(("VALUE", "PASSWORD", "AUTH_TOKEN"))}
    try:
        told = repr(load(environ, search=False))
    except SettingsError as error:
        told = str(error) + repr(error) + repr(error.problems)
    shown = "".join(f"{row.key}{row.value}" for row in describe(environ, search=False))
    for secret in secrets:
        assert secret not in told
        assert secret not in shown


@given(_SECRET)
def test_the_wrong_value_of_a_host_user_or_token_name_is_never_repeated(secret: str) -> None:
    environ = {
        "PROXMOX_HOST": f"https://root:{secret}@pve",
        "PROXMOX_USER": f"root@pam!t={secret}",
        "PROXMOX_TOKEN_NAME": f"root@pam!t={secret}",
        "PROXMOX_TOKEN_VALUE": f"root@pam!t={secret}",
    }
    with pytest.raises(SettingsError) as caught:
        load(environ, search=False)
    assert secret not in str(caught.value)
    assert secret not in "".join(row.value for row in describe(environ, search=False))


def test_settings_are_not_pickled_by_accident(short: dict[str, str]) -> None:
    with pytest.raises(TypeError, match="Secret"):
        pickle.dumps(load(short, search=False))
