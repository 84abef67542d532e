import pytest

from sealmesh.errors import VerificationError
from sealmesh.identity.addresses import (
    check_address_untrusted,
    check_addresses_untrusted,
    check_relay_url_untrusted,
)


@pytest.mark.parametrize(
    "text", ["127.0.0.1:1", "192.0.2.1:65535", "[::1]:4433", "[2001:db8::1]:80", "[::ffff:1.2.3.4]:9"]
)
def test_an_address(text):
    check_address_untrusted(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "1.2.3.4",
        "1.2.3.4:",
        "1.2.3.4:0",
        "1.2.3.4:65536",
        "1.2.3.4:00080",
        "1.2.3.4:+80",
        "1.2.3.4: 80",
        "1.2.3.4:80 ",
        "1.2.3.4:\u0661",
        "[1.2.3.4]:80",
        "::1:80",
        "[::1:80",
        "::1]:80",
        "[fe80::1%eth0]:80",
        "example.org:80",
        "localhost:80",
        "0.0.0.0:80",
        "[::]:80",
        "224.0.0.1:80",
        "[ff02::1]:80",
        "01.2.3.4:80",
        "1" * 1000,
    ],
)
def test_not_an_address(text):
    with pytest.raises(VerificationError) as caught:
        check_address_untrusted(text, factor="where")
    assert caught.value.factor == "where"


def test_eight_addresses_at_most():
    check_addresses_untrusted(["192.0.2.1:1"] * 8)
    with pytest.raises(VerificationError):
        check_addresses_untrusted(["192.0.2.1:1"] * 9)


@pytest.mark.parametrize("url", ["", "https://relay.example/", "http://127.0.0.1:3340"])
def test_a_relay_url(url):
    check_relay_url_untrusted(url)


@pytest.mark.parametrize(
    "url", ["relay", "ftp://x", "https://a b", "https://\x1b[2J", "https://é", "https://" + "a" * 250]
)
def test_not_a_relay_url(url):
    with pytest.raises(VerificationError):
        check_relay_url_untrusted(url)
