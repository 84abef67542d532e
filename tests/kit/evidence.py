"""The genuine samples of testvectors/evidence, and what vendors' verifiers are handed in tests."""

from __future__ import annotations

import datetime
import random
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from kit.attested import NOW, ProvenHost
from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import HostStatement, binding
from sealmesh.attestation.vendors.base import EvidenceInput
from sealmesh.errors import VerificationError

EVIDENCE = Path(__file__).parents[2] / "testvectors" / "evidence"


def sample(path: str) -> bytes:
    return (EVIDENCE / path).read_bytes()


def at(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp()


def statement_bytes(**changes: object) -> bytes:
    return ProvenHost().statement(**changes).encode()  # type: ignore[arg-type]


BOUND = binding(statement_bytes())


def given(
    record: Record, *, now: float = NOW, statement: bytes | None = None, vendors: Mapping[str, object] | None = None
) -> EvidenceInput:
    """One record as the verifier of its type gets it, of a host whose statement has the binding `BOUND`."""
    data = statement or statement_bytes()
    return EvidenceInput(
        record=record,
        envelope=Envelope(records={"one": record}),
        binding=binding(data),
        statement=HostStatement.parse_untrusted(data),
        endpoint_id=ProvenHost().endpoint_id,
        policy=Policy(vendors=vendors or {}),  # type: ignore[arg-type]
        now=now,
    )


def flipped(data: bytes, *, seed: int, count: int) -> Iterator[tuple[int, bytes]]:
    """`count` copies of `data` with one bit flipped each, at places that are the same in every run: (bit, copy)."""
    bits = len(data) * 8
    places = range(bits) if count >= bits else sorted(random.Random(seed).sample(range(bits), count))
    for bit in places:
        copy = bytearray(data)
        copy[bit // 8] ^= 1 << bit % 8
        yield bit, bytes(copy)


def refusal(judge: Callable[[], object]) -> VerificationError | None:
    """The refusal, or None where it holds; anything else that escapes is a bug, and escapes here too."""
    try:
        judge()
    except VerificationError as error:
        return error
    return None
