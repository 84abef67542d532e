"""A16: a stranger who begins handshakes from addresses that are not its own, and never goes on, shuts members out."""

from __future__ import annotations

import asyncio
import contextlib

from sealmesh.errors import TransportError
from sealmesh.limits import HANDSHAKES_MAX
from sealmesh.transport.base import EndpointAddress
from sealmesh.transport.iroh import IrohEndpoint


class Spoofer(asyncio.DatagramProtocol):
    """Sends on what it is sent, as from elsewhere; what is said in return is lost, as it is to who lies about where."""

    def __init__(self, victim: tuple[str, int]) -> None:
        self.victim = victim
        self.sent = 0
        self.out: asyncio.DatagramTransport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[0] & 0xB0 == 0x80:  # the first packet of a handshake, as it is on the wire
            self.sent += 1
            self.out.sendto(data, self.victim)


async def test_a16_handshakes_that_never_go_on_keep_no_member_out() -> None:
    node = await IrohEndpoint.bind(seed=b"n" * 32, bind="127.0.0.1:0")
    stranger = await IrohEndpoint.bind(seed=b"s" * 32, bind="127.0.0.1:0")
    member = await IrohEndpoint.bind(seed=b"m" * 32, bind="127.0.0.1:0")
    address = next(one for one in node.address().addresses if not one.startswith("["))
    spoofer = Spoofer(("127.0.0.1", int(address.rpartition(":")[2])))
    loop = asyncio.get_running_loop()
    ear, _ = await loop.create_datagram_endpoint(lambda: spoofer, local_addr=("127.0.0.1", 0))
    mouth, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    spoofer.out = mouth
    lie = EndpointAddress(endpoint_id=node.endpoint_id, addresses=(f"127.0.0.1:{ear.get_extra_info('sockname')[1]}",))

    async def begin() -> None:
        with contextlib.suppress(TransportError):
            await stranger.connect(lie, timeout_s=20)

    begun = [asyncio.create_task(begin()) for _ in range(2 * HANDSHAKES_MAX)]
    try:
        async with asyncio.timeout(10):
            while spoofer.sent < 2 * HANDSHAKES_MAX:
                await asyncio.sleep(0.01)
        connection = await member.connect(
            EndpointAddress(endpoint_id=node.endpoint_id, addresses=(address,)), timeout_s=4
        )
        async with asyncio.timeout(4):
            assert (await node.accept()).remote_id == member.endpoint_id
        connection.close()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        for transport in (ear, mouth):
            transport.close()
        await asyncio.gather(*(endpoint.close() for endpoint in (stranger, member, node)))
