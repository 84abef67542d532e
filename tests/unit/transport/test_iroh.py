"""What is particular to the endpoint over iroh: its sockets, and arguments that cannot be used."""

from __future__ import annotations

import pytest
from nacl.signing import SigningKey

from sealmesh.errors import TransportError
from sealmesh.transport.iroh import IrohEndpoint, other_family

SEED = b"s" * 32


@pytest.mark.parametrize(
    ("bind", "other"),
    [
        ("0.0.0.0:0", "[::]:0"),
        ("[::]:4433", "0.0.0.0:0"),
        ("127.0.0.1:4433", "[::1]:0"),
        ("192.0.2.2:4433", "[::1]:0"),
        ("[::1]:0", "127.0.0.1:0"),
        ("[2001:db8::1]:4433", "127.0.0.1:0"),
    ],
)
def test_the_other_familys_socket_is_no_wider(bind: str, other: str) -> None:
    assert other_family(bind)[1] == other


async def test_who_stays_on_loopback_listens_nowhere_else() -> None:
    endpoint = await IrohEndpoint.bind(seed=SEED, bind="127.0.0.1:0")
    try:
        sockets = endpoint._native.bound_sockets()
        assert sockets
        assert all(one.startswith(("127.0.0.1:", "[::1]:")) for one in sockets)
        assert set(endpoint.address().addresses) <= set(sockets)
    finally:
        await endpoint.close()


async def test_loopback_is_no_address_of_an_open_endpoint() -> None:
    endpoint = await IrohEndpoint.bind(seed=SEED)
    try:
        assert not any(one.startswith(("127.", "[::1]")) for one in endpoint.address().addresses)
        assert endpoint.endpoint_id == bytes(SigningKey(SEED).verify_key)
        assert endpoint.address().relay_url is None
    finally:
        await endpoint.close()


@pytest.mark.parametrize("bind", ["", "here", "127.0.0.1", "::1:0", "127.0.0.1:70000", "127.0.0.1:x", "[::1:0", "a:1"])
async def test_an_address_that_is_none_cannot_be_bound(bind: str) -> None:
    with pytest.raises(TransportError, match="cannot listen on"):
        await IrohEndpoint.bind(seed=SEED, bind=bind)


async def test_a_taken_port_is_said_in_our_words() -> None:
    first = await IrohEndpoint.bind(seed=SEED, bind="127.0.0.1:0")
    try:
        taken = next(one for one in first._native.bound_sockets() if one.startswith("127."))
        with pytest.raises(TransportError, match="cannot listen on"):
            await IrohEndpoint.bind(seed=b"t" * 32, bind=taken)
    finally:
        await first.close()


@pytest.mark.parametrize(("seed", "relay"), [(b"short", None), (SEED, "not a url"), (SEED, "\x00")])
async def test_bad_arguments_are_transport_errors(seed: bytes, relay: str | None) -> None:
    with pytest.raises(TransportError):
        await IrohEndpoint.bind(seed=seed, bind="127.0.0.1:0", relay_url=relay)
