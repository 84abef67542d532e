"""The two tables of evidence: who judges a record of an envelope, and who a raw file (`sealmesh verify --kind`)."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from sealmesh.attestation.vendors import (
    apple_app_attest,
    apple_enclave,
    apple_files,
    apple_mda,
    nitro,
    nvidia,
    sevsnp,
    software,
    tdx,
    tpm,
)
from sealmesh.attestation.vendors.base import EvidenceKind
from sealmesh.attestation.vendors.raw import RawKind
from sealmesh.attestation.vendors.tpm.evidence import Activated

#: Evidence record type to its verifier and the most that it can be worth. A type that is not here counts for nothing.
REGISTRY: Final[Mapping[str, EvidenceKind]] = MappingProxyType(
    {
        software.TYPE: software.KIND,
        apple_enclave.TYPE: apple_enclave.KIND,
        apple_app_attest.TYPE: apple_app_attest.KIND,
        apple_mda.TYPE: apple_mda.KIND,
        tpm.TYPE: tpm.KIND,
        sevsnp.TYPE: sevsnp.KIND,
        tdx.TYPE: tdx.KIND,
        tdx.SGX_TYPE: tdx.SGX_KIND,
        nitro.TYPE: nitro.KIND,
        nvidia.TYPE: nvidia.KIND,
    }
)

#: Raw kinds by the word after `--kind`, in the order of the help.
RAW_KINDS: Final[Mapping[str, RawKind]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            sevsnp.RAW_KIND,
            tdx.RAW_KIND,
            tdx.SGX_RAW_KIND,
            tpm.RAW_KIND,
            nvidia.RAW_KIND,
            apple_files.RAW_KIND,
            apple_mda.RAW_KIND,
            nitro.RAW_KIND,
        )
    }
)


def live_registry(activated: Activated) -> Mapping[str, EvidenceKind]:
    """The registry of one live verifier, with its own memories.

    Args:
        activated: Which attestation keys it saw TPMs activate (A06). That of the last assertion of each App Attest key
            (A08) is made here.
    """
    counted = apple_app_attest.make_kind(apple_app_attest.Counters())
    return MappingProxyType({**REGISTRY, apple_app_attest.TYPE: counted, tpm.TYPE: tpm.make_kind(activated)})
