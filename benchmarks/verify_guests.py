"""What it costs to verify evidence of confidential guests: `python -m benchmarks.verify_guests`."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from sealmesh.attestation.policy import Policy
from sealmesh.attestation.vendors import nitro, sevsnp, tdx
from sealmesh.attestation.vendors.raw import RawInput

EVIDENCE = Path(__file__).parents[1] / "testvectors/evidence"
ROUNDS = 200


def measure(name: str, target: str, judge: Callable[[RawInput], object], raw: RawInput) -> None:
    judge(raw)
    begun = time.perf_counter()
    for _ in range(ROUNDS):
        judge(raw)
    print(f"{name:8} {(time.perf_counter() - begun) / ROUNDS * 1e3:6.2f} ms  (target {target})")


def main() -> None:
    read = {path.name: path.read_bytes() for path in EVIDENCE.rglob("*") if path.is_file()}

    def raw(name: str, now: float, **given: str) -> RawInput:
        files = {role: read[file] for role, file in given.items()}
        return RawInput(data=read[name], given=files, policy=Policy(), now=now)

    report = raw("virtee_report_milan.hex", 1_790_000_000.0, vcek="virtee_vcek_milan.der")
    measure("sev-snp", "2 ms", sevsnp.judge_sevsnp_untrusted, report)
    quote = raw("phala_tdx_quote", 1_750_400_000.0, collateral="phala_tdx_quote_collateral.json")
    measure("tdx", "3 ms", tdx.judge_tdx_untrusted, quote)
    measure("nitro", "none", nitro.judge_nitro_untrusted, raw("dstack_nitro.bin", 1_766_668_600.0))


if __name__ == "__main__":
    main()
