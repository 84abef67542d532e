"""A node for benchmarks: the product's own, with the suites chosen or the cipher taken out.

`python -m benchmarks.node --suites 1 serve …` has hosts with suite 1 only; `--plain` keeps every byte of framing and
every step of the way, and takes out what seals: the plain tunnel that sealing is compared with. This lives outside of
the package: no setting of the product can do it.
"""

from __future__ import annotations

import argparse
import struct
import sys
from functools import partial

from sealmesh.sealed import answering, asking, suites
from sealmesh.sealed.frames import SEAL_OVERHEAD, Direction
from sealmesh.sealed.suites import Suite

_PAD = bytes(SEAL_OVERHEAD - 1)


class PlainSealing:
    """`SealingStream` without the cipher: a tag byte, the plaintext, and as many bytes more as a seal has."""

    def __init__(self, direction: Direction, key: bytes, random) -> None:
        self.header = bytes(24)
        self.spent = False

    def seal(self, plain: bytes, *, final: bool = False) -> bytes:
        return struct.pack(">IB", len(plain) + SEAL_OVERHEAD, 3 if final else 0) + plain + _PAD

    def wipe(self) -> None:
        self.spent = True


class PlainOpening:
    """`OpeningStream` without the cipher."""

    def __init__(self, direction: Direction, key: bytes, header: bytes) -> None:
        self.spent = False

    def open_untrusted(self, sealed: bytes) -> tuple[bytes, bool]:
        return sealed[1 : len(sealed) - len(_PAD)], sealed[0] == 3

    def wipe(self) -> None:
        self.spent = True


def take_out_the_cipher() -> None:
    def no_seal(suite: Suite, public: bytes, context: bytes, random) -> tuple[bytes, bytes]:
        return bytes(32), random(1168 if suite is Suite.XWING else 104)

    asking.SealingStream = answering.SealingStream = PlainSealing
    asking.OpeningStream = answering.OpeningStream = PlainOpening
    asking.seal_secret = no_seal
    # The replay tag is made from the secret; without one, each request needs its own.
    suites.HostKey.open_untrusted = lambda self, encapsulation, context: encapsulation[:32]
    asking.derive_keys = answering.derive_keys = no_keys


def no_keys(secret: bytes, context: bytes, encapsulation: bytes) -> suites.ExchangeKeys:
    name = encapsulation[:16]
    return suites.ExchangeKeys(request=bytes(32), response=bytes(32), exchange_id=name, exporter=bytes(32))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--suites", default="1,2")
    own, rest = parser.parse_known_args()
    if own.plain:
        take_out_the_cipher()
    import sealmesh.node.run as node_run

    node_run.run = partial(node_run.run, suites=tuple(Suite(int(number)) for number in own.suites.split(",")))
    from sealmesh.cli.main import main as command

    sys.argv[1:] = rest
    command()


if __name__ == "__main__":
    main()
