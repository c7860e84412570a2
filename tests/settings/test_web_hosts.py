"""IMAGE_URL_ALLOWLIST: hosts, in any case, with a star for all below one."""

import pytest
import voluptuous as vol

from mqtt_bridge.policy import listed_host
from mqtt_bridge.settings import values


def test_hosts_are_kept_in_lower_case_each_once() -> None:
    assert values.WEB_HOSTS("Cloud.Debian.org, *.example.org,cloud.debian.org,host.example.net:8443") == (
        "cloud.debian.org", "*.example.org", "host.example.net:8443",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["https://cloud.debian.org", "cloud.debian.org/images", "*", "a.*.org", "user@host", "a b", "*.", "-a.org"]
)
def test_what_is_no_host(text: str) -> None:
    with pytest.raises(vol.Invalid, match="web host"):
        values.WEB_HOSTS(text)


@pytest.mark.parametrize(
    ("host", "listed"),
    [
        ("cloud.debian.org", True), ("a.example.org", True), ("a.b.example.org", True), ("example.org", False),
        ("badexample.org", False), ("cloud.debian.org:8443", False), ("cloud.debian.org.evil.net", False),
    ],
)  # fmt: skip
def test_which_hosts_a_list_admits(host: str, listed: bool) -> None:
    assert listed_host(host, ("cloud.debian.org", "*.example.org")) is listed
