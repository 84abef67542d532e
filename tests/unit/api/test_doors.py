"""Who may come in."""

from __future__ import annotations

import ssl

import pytest

from sealmesh.api.doors import Doorkeeper, is_loopback, require_safe_bind, split_authority
from sealmesh.api.heads import RequestHead
from sealmesh.errors import ConfigError, RequestError

LOCAL = ("127.0.0.1", 9337)


def head(method: str = "POST", *, version: str = "1.1", authority: str = "", **headers: str) -> RequestHead:
    named = tuple((name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items())
    return RequestHead(method=method, path="/", version=version, authority=authority, headers=named)


@pytest.mark.parametrize(
    ("authority", "split"),
    [
        ("localhost", ("localhost", None)),
        ("LocalHost:80", ("localhost", 80)),
        ("[::1]:1", ("::1", 1)),
        ("[::1]", ("::1", None)),
        ("", None),
        (":80", None),
        ("a:", None),
        ("a:b", None),
        ("a:123456", None),
        ("a:-1", None),
        ("a:١", None),
        ("[::1", None),
        ("[::1]x", None),
        ("[a]:1", None),
        ("::1", None),
        ("user@localhost:1:2", None),
    ],
)
def test_authorities(authority: str, split: tuple[str, int | None] | None) -> None:
    assert split_authority(authority) == split


@pytest.mark.parametrize("bind", ["127.0.0.1", "127.9.9.9", "::1"])
def test_loopback_needs_nothing(bind: str) -> None:
    assert require_safe_bind(bind, api_keys=(), tls=None, insecure_http=False) == bind
    assert require_safe_bind("localhost", api_keys=(), tls=None, insecure_http=False) == "127.0.0.1"


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "192.0.2.1"])
def test_off_loopback_a_key_and_tls_or_the_flag_are_demanded(bind: str) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    for keys, context, flag in (((), None, False), ((), tls, False), ((), None, True), (("k",), None, False)):
        with pytest.raises(ConfigError):
            require_safe_bind(bind, api_keys=keys, tls=context, insecure_http=flag)
    assert require_safe_bind(bind, api_keys=("k",), tls=tls, insecure_http=False) == bind
    assert require_safe_bind(bind, api_keys=("k",), tls=None, insecure_http=True) == bind


@pytest.mark.parametrize("bind", ["", "example.org", "127.0.0.1:80", "127.1"])
def test_what_is_no_address_is_refused(bind: str) -> None:
    with pytest.raises(ConfigError):
        require_safe_bind(bind, api_keys=("k",), tls=None, insecure_http=True)


@pytest.mark.parametrize("key", ["", "a\nb", "ключ"])
def test_a_key_that_no_header_can_carry_is_refused(key: str) -> None:
    with pytest.raises(ConfigError):
        require_safe_bind("127.0.0.1", api_keys=("good", key), tls=None, insecure_http=False)


def test_loopback_is_told_by_the_literal_never_by_a_lookup() -> None:
    assert [is_loopback(name) for name in ("localhost", "127.0.0.2", "::1", "::ffff:127.0.0.1x")] == [
        True,
        True,
        True,
        False,
    ]
    assert not is_loopback("localhost.example.org")


def test_configured_names_and_the_reached_address_are_answered() -> None:
    keeper = Doorkeeper.build(names=["Box.example"])
    keeper.require_host(head(host="box.EXAMPLE:9337"), local=LOCAL)
    keeper.require_host(head(host="192.0.2.7:9337"), local=("192.0.2.7", 9337))
    for host, local in (
        ("box.example", LOCAL),
        ("192.0.2.8:9337", ("192.0.2.7", 9337)),
        ("localhost:9337", ("192.0.2.7", 9337)),
    ):
        with pytest.raises(RequestError) as caught:
            keeper.require_host(head(host=host), local=local)
        assert caught.value.code == "host_not_allowed"


def test_a_default_port_may_be_left_out() -> None:
    Doorkeeper.build().require_host(head(host="localhost"), local=("127.0.0.1", 80))
    Doorkeeper.build(secure=True).require_host(head(host="localhost"), local=("127.0.0.1", 443))


def test_keys_are_compared_whole_and_kept_as_digests() -> None:
    keeper = Doorkeeper.build(api_keys=["key-one", "key-two"])
    assert "key-one" not in repr(keeper)
    for good in ("Bearer key-one", "bearer key-two"):
        keeper.require_key(head(authorization=good))
    for bad in ("Bearer key-on", "Bearer key-onee", "Basic key-one", "key-one", "Bearer", ""):
        with pytest.raises(RequestError) as caught:
            keeper.require_key(head(authorization=bad))
        assert caught.value.code == "invalid_api_key"
    with pytest.raises(RequestError):
        keeper.require_key(head())
