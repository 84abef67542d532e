"""What judging evidence of devices costs: `python -m benchmarks.verify_devices`. Apple: 3 ms at most, NVIDIA: 6 ms."""

from __future__ import annotations

import datetime
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import apple_files, nvidia
from sealmesh.attestation.vendors.raw import RawInput

EVIDENCE = Path(__file__).parent.parent / "testvectors" / "evidence"
ROUNDS = 200


def at(moment: str) -> float:
    return datetime.datetime.fromisoformat(moment).timestamp()


def milliseconds(judge: Callable[[], object]) -> float:
    """The median of `ROUNDS`, after one that loads the roots."""
    judge()
    taken = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        judge()
        taken.append(time.perf_counter() - begun)
    return sorted(taken)[ROUNDS // 2] * 1000


def main() -> int:
    read = lambda path: (EVIDENCE / path).read_bytes()  # noqa: E731
    mac = RawInput(data=read("apple/macos27.json"), policy=Policy(), now=at("2026-07-18T14:20:00+00:00"))
    today = at("2026-11-22T10:00:00+00:00")
    gpus = {
        "NVIDIA Hopper": ("nvtrust_hopperAttestationReport.txt", "nvtrust_hopperCertChain.txt"),
        "NVIDIA Blackwell": ("nvat_blackwell_report.txt", "nvat_blackwell_chain.txt"),
    }
    results = {"App Attest, attestation and assertion": milliseconds(lambda: apple_files.RAW_KIND.judge_untrusted(mac))}
    for name, (report, chain) in gpus.items():
        given = {"chain": read(f"nvidia/{chain}")}
        raw = RawInput(data=read(f"nvidia/{report}"), given=given, policy=Policy(), now=today)
        results[name] = milliseconds(lambda raw=raw: nvidia.RAW_KIND.judge_untrusted(raw))  # type: ignore[misc]
    for name, taken in results.items():
        sys.stdout.write(f"{name:40} {taken:6.2f} ms\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
