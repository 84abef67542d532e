"""What it costs to verify a TPM's evidence: `python -m benchmarks.verify_tpm`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.attestation.vendors.tpm import RAW_KIND
from sealmesh.attestation.vendors.tpm.certificates import (
    Use,
    parse_certificates_untrusted,
    verify_endorsement_untrusted,
)

GCE = Path(__file__).parents[1] / "testvectors/evidence/gce"
NOW = 1_800_000_000.0
ROUNDS = 300


def measure(name: str, target: str, judge: Callable[[], object]) -> None:
    judge()
    begun = time.process_time()
    for _ in range(ROUNDS):
        judge()
    print(f"{name:34} {(time.process_time() - begun) / ROUNDS * 1e3:6.2f} ms  (target {target})")


def main() -> None:
    data = (GCE / "gce-cos-85-nonce9009.pb").read_bytes()
    leaf = parse_certificates_untrusted((GCE / "pca_tpm_ecc_sign_cert.pem").read_bytes())[0]
    raw = RawInput(data=data, nonce=b"\x90\x09", policy=Policy(), now=NOW)
    measure("three quotes, chain, log of 44", "1 ms", lambda: RAW_KIND.judge_untrusted(raw))
    measure("chain alone", "none", lambda: verify_endorsement_untrusted(leaf, use=Use.AK, now=NOW))


if __name__ == "__main__":
    main()
