"""What a TPM's operations cost: `python benchmarks/tpm.py` on a fresh emulator, or with the path of a device or socket.

The median and the largest of each; nothing here is a test.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cryptography import x509

from sealmesh.attestation.vendors.tpm.credential import make_credential
from sealmesh.attestation.vendors.tpm.structures import parse_public_untrusted
from sealmesh.attesters.tpm.chip import TpmChip, open_chip

ROUNDS = 50


@contextlib.contextmanager
def chip() -> Iterator[TpmChip]:
    if len(sys.argv) > 1:
        yield open_chip(Path(sys.argv[1]))
        return
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]
    from kit.swtpm import made_tpms, running_tpms

    with made_tpms(1) as made, running_tpms(made) as (one,):
        yield one.chip


def measure(name: str, work: Callable[[], object], rounds: int = ROUNDS) -> None:
    spent = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begun) * 1000)
    print(f"{name:12} median {statistics.median(spent):8.2f} ms   largest {max(spent):8.2f} ms   of {rounds}")


def main() -> None:
    with chip() as tpm:
        print(tpm.describe())
        measure("make keys", tpm.prepare, 10)
        quoted = tpm.quote(bytes(32))
        measure("quote", lambda: tpm.quote(bytes(32)))
        if quoted.ek_certificate is not None:
            key = x509.load_der_x509_certificate(quoted.ek_certificate).public_key()
            name = parse_public_untrusted(quoted.ak_public).name
            made = make_credential(key, name, bytes(32), os.urandom)
            measure("activate", lambda: tpm.activate(made.id_object, made.encrypted_secret))
        sealed = tpm.seal(bytes(56))
        measure("seal", lambda: tpm.seal(bytes(56)))
        measure("unseal", lambda: tpm.unseal(sealed))


if __name__ == "__main__":
    main()
