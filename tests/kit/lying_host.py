"""A host that lies: the product's own node, real but for one part, which is replaced before it starts.

`python -m kit.lying_host --lie replayed-answer serve …`. It is a program of its own, as a liar's would be; nothing is
replaced in the process of a test.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from sealmesh.attestation.challenge import Answer, Challenge, Request
from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.statement import EpochStatement
from sealmesh.attestation.vendors import software
from sealmesh.attesters.tpm.chip import open_chip
from sealmesh.cli.processes import NodeProcess
from sealmesh.config import AttesterChoice
from sealmesh.host.attest import TPM_LABEL, SoftwareAttester, TpmAttester
from sealmesh.host.epochs import EpochContent, EpochKeeper
from sealmesh.host.find import FoundAttester, Machine, find_attester
from sealmesh.host.prove import Attester, Prover
from sealmesh.identity.keys import EndpointKey, StatementKey

TESTS = Path(__file__).resolve().parents[1]
_EK = f"{TPM_LABEL}-ek-0"


class Lie(StrEnum):
    """What is not as it should be."""

    NO_EVIDENCE = "no-evidence"
    ANOTHERS_EVIDENCE = "anothers-evidence"
    SWAPPED_KEY = "swapped-key"
    STALE_STATEMENT = "stale-statement"
    REPLAYED_ANSWER = "replayed-answer"
    ANOTHERS_CERTIFICATE = "anothers-certificate"
    CHANGED_KEY = "changed-key"


class LyingProcess(NodeProcess):
    """A node of this program, as `NodeProcess` starts the true one.

    Args:
        lie: What it lies about.
        stolen: Another host's evidence, as `--save-evidence` writes it.
        other_tpm: The other host's chip.
        other_tpm_when: `CHANGED_KEY` goes over to it once this file is there.
    """

    def __init__(
        self,
        command: str,
        *,
        lie: Lie,
        stolen: Path,
        other_tpm: Path,
        other_tpm_when: Path,
        environment: Mapping[str, str],
        **options: Any,
    ) -> None:
        self._own = [
            *("--lie", lie.value, "--stolen", str(stolen)),
            *("--other-tpm", str(other_tpm), "--other-tpm-when", str(other_tpm_when)),
        ]
        path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
        super().__init__(command, environment={**environment, "PYTHONPATH": path}, **options)

    def command_line(self, command: str) -> list[str]:
        return [sys.executable, "-m", "kit.lying_host", *self._own, command]


class Unknown:
    """A record that is there, and that nobody knows how to judge."""

    def __init__(self, key: EndpointKey) -> None:
        self._true = SoftwareAttester(key)

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        record = (await self._true.attest(binding))[software.LABEL]
        return {"key": replace(record, type="application/x-of-no-kind")}

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        return await self._true.activate(id_object, encrypted_secret)


class Stolen:
    """What another host has shown of its chip, beside this one's own word (A07).

    Args:
        true: This host's.
        records: What was stolen.
    """

    def __init__(self, true: Attester, records: Mapping[str, Record]) -> None:
        self._true = true
        self._records = {name: record for name, record in records.items() if name != software.LABEL}

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        own = await self._true.attest(binding)
        return {software.LABEL: own[software.LABEL], **self._records}

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        return await self._true.activate(id_object, encrypted_secret)


class CertificateOfAnother:
    """A key of this host's chip beside the certificate of another's, whom each credential is passed on to (A06).

    Args:
        true: This host's.
        records: What the other chip's host has shown.
        other: The other chip: it hands out no secret that was made for a key of this one.
    """

    def __init__(self, true: Attester, records: Mapping[str, Record], other: Attester) -> None:
        self._true = true
        self._certificate = records[_EK]
        self._other = other

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        return {**await self._true.attest(binding), _EK: self._certificate}

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        return await self._other.activate(id_object, encrypted_secret)


class Changing:
    """Another chip, from the moment on that a file is there.

    Args:
        first: Before.
        second: After.
        when: The file.
    """

    def __init__(self, first: Attester, second: Attester, when: Path) -> None:
        self._chips = (first, second)
        self._when = when

    async def attest(self, binding: bytes) -> Mapping[str, Record]:
        return await self._chips[self._when.exists()].attest(binding)

    async def activate(self, id_object: bytes, encrypted_secret: bytes) -> bytes:
        return await self._chips[self._when.exists()].activate(id_object, encrypted_secret)


class SwappedKey(EpochKeeper):
    """Inference keys that somebody else made and signed (A04): who has their private halves reads along."""

    @property
    def content(self) -> EpochContent:
        true = super().content
        others = bytes(range(32))
        swapped = tuple(
            replace(EpochStatement.parse_untrusted(one.part), keys={1: others}).sign(
                StatementKey.from_seed(b"somebody".ljust(32))
            )
            for one in true.statements
        )
        return EpochContent(statements=swapped, inference_public_key=others)


class Stale(Prover):
    """Statements of two hours ago, with evidence that is right for them (A08)."""

    async def _attest(self, challenge_root: bytes) -> tuple[bytes, bytes]:
        today = self._now
        self._now = lambda: today() - 7200
        try:
            return await super()._attest(challenge_root)
        finally:
            self._now = today


class Replayed(Prover):
    """One answer, made for a challenge of long ago and given to everybody since (A08)."""

    _kept: Answer | None = None

    async def _answer(self, peer: bytes, request: Request) -> Answer:
        if not isinstance(request, Challenge):
            return await super()._answer(peer, request)
        if self._kept is None:
            self._kept = await super()._answer(peer, Challenge(nonce=bytes(32)))
        return self._kept


def lying_finder(lie: Lie, own: argparse.Namespace) -> Callable[..., Awaitable[FoundAttester]]:
    """What looks for the host's attester, as `find_attester` does, and lies about what it found."""

    async def find(choice: AttesterChoice, *, key: EndpointKey, machine: Machine) -> FoundAttester:
        found = await find_attester(choice, key=key, machine=machine)
        attester = found.attester
        second = TpmAttester(open_chip(own.other_tpm), machine.given)
        match lie:
            case Lie.NO_EVIDENCE:
                attester = Unknown(key)
            case Lie.ANOTHERS_EVIDENCE:
                attester = Stolen(attester, stolen_records(own.stolen))
            case Lie.ANOTHERS_CERTIFICATE:
                attester = CertificateOfAnother(attester, stolen_records(own.stolen), second)
            case Lie.CHANGED_KEY:
                attester = Changing(attester, second, own.other_tpm_when)
            case _:
                raise AssertionError(lie)
        return replace(found, attester=attester)

    return find


def stolen_records(path: Path) -> Mapping[str, Record]:
    """The evidence in a file that a client has saved."""
    return Envelope.parse_untrusted(SavedProof.parse_untrusted(path.read_bytes()).envelope).records


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--lie", type=Lie, required=True)
    parser.add_argument("--stolen", type=Path, required=True)
    parser.add_argument("--other-tpm", type=Path, required=True)
    parser.add_argument("--other-tpm-when", type=Path, required=True)
    own, rest = parser.parse_known_args()
    import sealmesh.node.host as node_host
    import sealmesh.node.run as node_run

    match own.lie:
        case Lie.SWAPPED_KEY:
            node_host.EpochKeeper = SwappedKey  # type: ignore[misc]
        case Lie.STALE_STATEMENT:
            node_host.Prover = Stale  # type: ignore[misc]
        case Lie.REPLAYED_ANSWER:
            node_host.Prover = Replayed  # type: ignore[misc]
        case _:
            node_run.find_attester = lying_finder(own.lie, own)  # type: ignore[assignment]
    from sealmesh.cli.main import main as command

    sys.argv[1:] = rest
    command()


if __name__ == "__main__":
    main()
