"""What `--require-attested-hosts` costs an app, and how long verdicts hold the event loop.

`python benchmarks/attested.py`: a host with a fresh emulated TPM and two clients, one with the flag, each a process of
its own: median time to the first token, asked in turn. Before that, in this process: how late the event loop turned
while verdicts were worked out in threads, one after the other without a rest. Nothing here is a test.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from sealmesh.attestation.challenge import ChallengeTree, ProofAnswer, leaf
from sealmesh.attestation.envelope import Envelope
from sealmesh.attestation.kinds import live_registry
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory
from sealmesh.attestation.verifier import Verifier
from sealmesh.cli.processes import NodeProcess
from sealmesh.client.judging import JudgeThreads
from sealmesh.node.run import SWITCH_INTERVAL_S

ROUNDS = 300
JUDGEMENTS = 1000
NONCE, VERIFIER_ID = bytes(32), bytes(range(32))


def first_token(client: httpx.Client, url: str) -> float:
    body = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    begun = time.perf_counter()
    with client.stream("POST", f"{url}/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200, answer.read()
        for _ in answer.iter_bytes():
            spent = time.perf_counter() - begun
            break
    return spent * 1000


def measure_apps(root: Path) -> None:
    from kit.swtpm import made_tpms, running_tpms

    with made_tpms(1) as made, running_tpms(made) as (tpm,), contextlib.ExitStack() as stack:
        home = root / "host"
        (home / "endorsements").mkdir(mode=0o700, parents=True)
        home.chmod(0o700)
        (home / "endorsements" / "tpm-issuers.pem").write_bytes(tpm.authority.issuers)
        arguments = ["--backend", "echo:", "--tpm", str(tpm.path)]
        host = stack.enter_context(NodeProcess("serve", home=home, arguments=arguments))
        ticket = root / "ticket"
        ticket.touch(mode=0o600)
        ticket.write_text(host.wait_for("ready")["ticket"])
        policy = root / "policy.toml"
        policy.write_text(f"[tpm]\nextra_roots = [{json.dumps(tpm.authority.roots.decode())}]\n")
        urls = {}
        for name, flags in (("without", []), ("with", ["--require-attested-hosts", "--policy", str(policy)])):
            arguments = ["--join-file", str(ticket), "--tpm", "none", *flags]
            node = stack.enter_context(NodeProcess("client", home=root / name, arguments=arguments))
            urls[name] = node.wait_for("ready")["api_url"]
        spent: dict[str, list[float]] = {name: [] for name in urls}
        with httpx.Client(timeout=20) as client:
            for url in urls.values():
                for _ in range(10):
                    first_token(client, url)
            for number in range(ROUNDS):
                # In turn, and each first half of the time: whatever else this machine does meets both alike.
                for name in sorted(urls, reverse=bool(number % 2)):
                    spent[name].append(first_token(client, urls[name]))
    medians = {name: statistics.median(values) for name, values in spent.items()}
    for name, median in medians.items():
        print(f"first token {name:8} the flag: median {median:6.2f} ms of {ROUNDS}")
    print(f"with / without: {medians['with'] / medians['without']:.3f}")


async def measure_loop() -> None:
    from kit.attested import NOW, ProvenHost
    from kit.chips import REQUIRING, ChipAttester
    from kit.virtual_time import VirtualTime

    sys.setswitchinterval(SWITCH_INTERVAL_S)
    time_, host = VirtualTime(NOW), ProvenHost()
    chip = ChipAttester(host.endpoint_key, time_)
    root = ChallengeTree([leaf(NONCE, VERIFIER_ID)]).root
    statement = host.statement(NOW, root=root).encode()
    envelope = Envelope(records=await chip.attest(binding(statement))).encode()
    answer = ProofAnswer(host_statement=statement, envelope=envelope, path=b"", keys=b"-")
    verifier = Verifier(policy=REQUIRING, registry=live_registry(ActivationMemory().holds))
    epochs = (host.epoch(NOW),)

    def judge() -> object:
        return verifier.verify_live_untrusted(
            answer, epochs=epochs, endpoint_id=host.endpoint_id, nonce=NONCE, verifier_id=VERIFIER_ID, now=NOW
        )

    begun = time.perf_counter()
    for _ in range(100):
        judge()
    print(f"one verdict on a TPM: {(time.perf_counter() - begun) * 10:.2f} ms")
    for name, run in (("idle", None), ("in threads", JudgeThreads().run)):
        gaps = await held(judge, run)
        print(
            f"event loop, verdicts {name:10}: held for {statistics.median(gaps):.2f} ms in the median, "
            f"{sorted(gaps)[int(len(gaps) * 0.99)]:.2f} ms at p99, {max(gaps):.2f} ms at most"
        )


async def held(judge, run) -> list[float]:
    """How late each turn of the loop came, in ms, while verdicts were worked out all the time."""
    gaps: list[float] = []

    async def work() -> None:
        for _ in range(JUDGEMENTS):
            await run(judge)

    working = asyncio.create_task(work() if run is not None else asyncio.sleep(2))
    while not working.done():
        begun = time.perf_counter()
        await asyncio.sleep(0.001)
        gaps.append((time.perf_counter() - begun) * 1000 - 1.0)
    await working
    return gaps


def main() -> None:
    sys.path[:0] = [str(Path(__file__).parents[1] / "tests")]
    asyncio.run(measure_loop())
    with tempfile.TemporaryDirectory(prefix="sealmesh-bench-") as folder:
        measure_apps(Path(folder))


if __name__ == "__main__":
    main()
