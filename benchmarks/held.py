"""The longest that a verdict can hold the event loop beyond a thread's turn: its longest single call of a library.

`python benchmarks/held.py`. Verdicts are worked out in threads, which hand over each millisecond
(`sys.setswitchinterval`), but not within a call of a library that keeps the interpreter's lock. Each such call is taken
to keep it, and is measured in the thread's own processor time, which other programs do not change. Nothing here is a
test.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sealmesh.attestation.challenge import ChallengeTree, ProofAnswer, leaf
from sealmesh.attestation.envelope import Envelope
from sealmesh.attestation.kinds import live_registry
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import nitro, sevsnp, tdx
from sealmesh.attestation.vendors.raw import RawInput
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory
from sealmesh.attestation.verifier import Verifier

EVIDENCE = Path(__file__).parents[1] / "testvectors/evidence"
ROUNDS = 50
NONCE, VERIFIER_ID = bytes(32), bytes(range(32))


def measure(name: str, judge: Callable[[], object]) -> None:
    """Print what one verdict takes, and its three longest calls: 90th percentile, and at most."""
    judge()
    begun = time.thread_time_ns()
    for _ in range(ROUNDS):
        judge()
    whole = (time.thread_time_ns() - begun) / ROUNDS / 1e6
    spent: dict[str, list[float]] = {}
    open_calls: list[tuple[object, int]] = []

    def note(_: object, event: str, called: object) -> None:
        if event == "c_call":
            open_calls.append((called, time.thread_time_ns()))
        elif event in ("c_return", "c_exception") and open_calls:
            function, at = open_calls.pop()
            name = str(getattr(function, "__qualname__", function))
            spent.setdefault(name, []).append((time.thread_time_ns() - at) / 1e6)

    sys.setprofile(note)
    for _ in range(ROUNDS):
        judge()
    sys.setprofile(None)
    longest = sorted(((sorted(took)[len(took) * 9 // 10], max(took), called) for called, took in spent.items()))[-3:]
    words = "; ".join(f"{called} {usual:.2f} ms, {most:.2f} at most" for usual, most, called in reversed(longest))
    print(f"{name:8} {whole:5.2f} ms a verdict; longest calls: {words}")


def live_tpm() -> Callable[[], object]:
    from kit.attested import NOW, ProvenHost
    from kit.chips import REQUIRING, ChipAttester
    from kit.virtual_time import VirtualTime

    host = ProvenHost()
    chip = ChipAttester(host.endpoint_key, VirtualTime(NOW))
    statement = host.statement(NOW, root=ChallengeTree([leaf(NONCE, VERIFIER_ID)]).root).encode()
    envelope = Envelope(records=asyncio.run(chip.attest(binding(statement)))).encode()
    answer = ProofAnswer(host_statement=statement, envelope=envelope, path=b"", keys=b"-")
    verifier = Verifier(policy=REQUIRING, registry=live_registry(ActivationMemory().holds))
    epochs = (host.epoch(NOW),)
    return lambda: verifier.verify_live_untrusted(
        answer, epochs=epochs, endpoint_id=host.endpoint_id, nonce=NONCE, verifier_id=VERIFIER_ID, now=NOW
    )


def main() -> None:
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]
    read = {path.name: path.read_bytes() for path in EVIDENCE.rglob("*") if path.is_file()}

    def raw(name: str, now: float, **given: str) -> RawInput:
        files = {role: read[file] for role, file in given.items()}
        return RawInput(data=read[name], given=files, policy=Policy(), now=now)

    measure("tpm", live_tpm())
    report = raw("virtee_report_milan.hex", 1_790_000_000.0, vcek="virtee_vcek_milan.der")
    measure("sev-snp", lambda: sevsnp.judge_sevsnp_untrusted(report))
    quote = raw("phala_tdx_quote", 1_750_400_000.0, collateral="phala_tdx_quote_collateral.json")
    measure("tdx", lambda: tdx.judge_tdx_untrusted(quote))
    document = raw("dstack_nitro.bin", 1_766_668_600.0)
    measure("nitro", lambda: nitro.judge_nitro_untrusted(document))


if __name__ == "__main__":
    main()
