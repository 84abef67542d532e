"""Writes the table of attacks in docs/explain/threat-model.md; tests/architecture/test_threat_model.py compares.

What an attack is and where it is held stands here; which tests hold it off is read from `tests/attacks`, and what is
still to come from `tests/attacks/PENDING`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "explain" / "threat-model.md"
ATTACKS_FOLDER = ROOT / "tests" / "attacks"
BEGIN = "<!-- attacks: written by scripts/threat_table.py -->"
END = "<!-- end of attacks -->"


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: what it is, and the functions that hold it off, as `file:name` under `src/sealmesh`."""

    what: str
    held: tuple[str, ...] = ()


ATTACKS = {
    "A01": Attack(
        "a relay cuts an answer at any byte, with or without a forged end",
        (
            "sealed/machine.py:check_final_untrusted",
            "sealed/asking.py:AskingEnd.receive_eof_untrusted",
            "sealed/answering.py:AnsweringEnd.receive_eof_untrusted",
            "api/openai.py:_pass_on",
        ),
    ),
    "A02": Attack(
        "a relay drops, repeats, reorders or splices frames, or reflects the request as the answer",
        ("sealed/stream.py:OpeningStream.open_untrusted", "sealed/suites.py:derive_keys"),
    ),
    "A03": Attack(
        "a recorded request is replayed to the host, in and after its epoch",
        (
            "sealed/answering.py:HostExchange._check_replay_untrusted",
            "sealed/replay.py:ReplayTags.insert",
            "sealed/keyring.py:opens_at",
        ),
    ),
    "A04": Attack(
        "the evidence is kept, the inference key swapped",
        (
            "attestation/statement.py:check_epoch_signature",
            "attestation/statement.py:check_epoch_endpoint",
            "attestation/verifier.py:check_epochs_untrusted",
        ),
    ),
    "A05": Attack(
        "a gossip peer rewrites, strips or rolls back another node's record",
        ("gossip/table.py:RecordTable.add_untrusted", "gossip/table.py:RecordTable.add_keys_untrusted"),
    ),
    "A06": Attack(
        "a software key poses as hardware",
        (
            "attestation/verifier.py:cap_finding",
            "attestation/vendors/tpm/credential.py:Activation.check_untrusted",
            "attestation/vendors/roots.py:load_root",
            "attestation/vendors/ec_chain.py:check_issued_untrusted",
            "attestation/vendors/apple_attest.py:check_assertion_signature_untrusted",
            "attestation/vendors/apple_mda.py:check_certified_key",
            "attestation/vendors/nvidia.py:check_report_signature_untrusted",
            "attestation/vendors/sevsnp.py:check_signature",
            "attestation/vendors/tpm/assess.py:check_same_key",
        ),
    ),
    "A07": Attack(
        "the proven machine is not the serving machine: a sibling serves with the first one's evidence",
        (
            "attestation/verifier.py:check_statement_endpoint",
            "attestation/challenge.py:check_own_nonce_untrusted",
            "attestation/vendors/guest.py:check_binding",
            "attestation/appraise.py:judge_raw_binding",
        ),
    ),
    "A08": Attack(
        "stale evidence, or a stale challenge, shown as fresh",
        (
            "attestation/challenge.py:check_own_nonce_untrusted",
            "attestation/statement.py:HostStatement.check_time",
            "attestation/verified.py:VerifiedHost.check_fresh",
            "attestation/appraise.py:check_saved_time",
        ),
    ),
    "A09": Attack(
        "a host (or its proxy) passes the opened prompt onward",
        ("host/serve.py:ExchangeService", "host/rebuild.py:rebuild_request_untrusted"),
    ),
    "A10": Attack(
        'downgrade: suite, version, plaintext, "decryption failed so try plain"',
        (
            "sealed/asking.py:check_best_suite",
            "sealed/asking.py:check_verified",
            "attestation/blessed.py:check_threshold_untrusted",
            "attestation/blessed.py:check_not_older",
            "node/stores.py:SeenSuites.note_suite",
            "attestation/plain.py:permit_plain",
            "routing/directory.py:Directory.candidates",
            "client/plain.py:PlainDialer.ask",
            "node/stores.py:KeyMemory",
        ),
    ),
    "A11": Attack(
        "a second answer written after the first byte; trailing bytes after FINAL",
        ("sealed/machine.py:check_nothing_follows_untrusted", "sealed/frames.py:next_phase"),
    ),
    "A12": Attack(
        "a host opens the stream and says nothing; sends one byte a second; never ends; half-closes",
        (
            "client/watch.py:AnswerWatch",
            "host/serve.py:_Exchange",
            "host/sender.py:AnswerSender",
            "mesh/links.py:Links._read_kind_untrusted",
            "mesh/driver.py:_Outbox.put",
        ),
    ),
    "A13": Attack(
        "oversized, deeply nested or malformed frames, records, evidence, HTTP; decompression is never done",
        (
            "sealed/stream.py:check_frame_length_untrusted",
            "api/heads.py:parse_head_untrusted",
            "api/fields.py:require_shallow_untrusted",
            "gossip/record.py:parse_summary_untrusted",
            "attestation/envelope.py:Envelope",
        ),
    ),
    "A14": Attack(
        "hostile `sitecustomize`, `.pth`, `PYTHONPATH`, `LD_PRELOAD` on the host at start",
        (
            "cli/handover.py:start_anew",
            "cli/boot.py:package_folders",
            "hardening/reexec.py:isolated_command",
            "hardening/reexec.py:scrub",
            "hardening/environment.py:look_at_libraries",
        ),
    ),
    "A15": Attack(
        "debugger, `/proc/PID/mem`, core dump, swap of the host process by the same user",
        (
            "hardening/linux.py:apply_not_dumpable",
            "hardening/linux.py:apply_no_core_dumps",
            "hardening/linux.py:look_at_tracer",
            "hardening/memory.py:LockedBytes",
        ),
    ),
    "A16": Attack(
        "a stranger without a valid membership, or with a revoked, expired or copied one",
        (
            "identity/admission.py:AdmissionPolicy.admit_untrusted",
            "identity/admission.py:AdmissionPolicy.check",
            "mesh/admission.py:admit_each_other",
            "node/host.py:check_asks",
            "transport/iroh.py:IrohEndpoint._prove_address",
        ),
    ),
    "A17": Attack("a relay used as an open proxy, or to amplify"),
    "A18": Attack(
        "prompt text in a log, an error, a `repr`, a metric or the status page",
        ("api/errors.py", "cli/events.py:event_of", "client/counters.py:reason_code"),
    ),
    "A19": Attack(
        "a web page in the user's browser calls the local API or console (rebinding, CORS, CSRF)",
        ("api/doors.py:Doorkeeper.check", "console/app.py:ConsoleHandler.require_token"),
    ),
    "A20": Attack(
        "a terminal or page shows a peer's name with escape codes or markup",
        ("cli/terminal.py:escape_peer_text", "cli/terminal.py:AnswerEscaper"),
    ),
    "A21": Attack(
        "a disk copied to another machine: sealed keys useless there",
        ("node/keyfiles.py:KeyFiles", "attesters/tpm/chip.py:TpmChip.seal", "attesters/tpm/chip.py:TpmChip.unseal"),
    ),
    "A22": Attack(
        "after rotation and grace the host's whole state is seized: recorded traffic stays closed",
        (
            "host/epochs.py:EpochKeeper",
            "sealed/keyring.py:KeyRing.expire",
            "sealed/suites.py:HostKey.wipe",
            "hardening/memory.py:LockedBytes.wipe",
        ),
    ),
    "A23": Attack(
        "an asker learns another asker's prompt from cached tokens or timing",
        (
            "backend/slots.py:may_reuse",
            "client/sending.py:cache_key",
            "api/openai.py:OpenAIHandler._session",
            "node/local.py:LocalAsker._cache_key",
            "backend/openai.py:salted",
        ),
    ),
    "A24": Attack(
        "a sealed request reaches another endpoint of the backend, or smuggles headers",
        (
            "host/rebuild.py:rebuild_request_untrusted",
            "sealed/messages.py:check_request_head",
            "backend/openai.py:OpenAIBackend._head",
            "backend/llama_request.py:build_request",
        ),
    ),
    "A25": Attack(
        "a hostile peer exhausts hardware challenges, replay tags or openings, and so evicts an honest host",
        (
            "host/openings.py:OpeningRates",
            "host/openings.py:Places",
            "host/openings.py:BodyBudget",
            "host/queue.py:FairQueue",
            "host/prove.py:Prover._admit_challenge",
            "host/prove.py:Prover._admit_activation",
            "attestation/verifier.py:check_repetition",
            "sealed/replay.py:ReplayTags.insert",
        ),
    ),
}


def tests_of(attack: str) -> list[str]:
    """The files in `tests/attacks` that are named after an attack."""
    return sorted(path.name for path in ATTACKS_FOLDER.glob(f"test_{attack.lower()}_*.py"))


def pending() -> dict[str, str]:
    """Attacks without a test yet, and what is missing."""
    lines = (ATTACKS_FOLDER / "PENDING").read_text().splitlines()
    entries = (re.fullmatch(r"(A\d\d) #\d+ (.+)", line) for line in lines if not line.startswith("#"))
    return {entry[1]: entry[2] for entry in entries if entry}


def table() -> str:
    """The table, with its markers."""
    waiting = pending()
    lines = [BEGIN, "", "| id | attack | held in `src/sealmesh/` | tests in `tests/attacks/` |", "|---|---|---|---|"]
    for name, attack in ATTACKS.items():
        files = tests_of(name)
        held = "<br>".join(f"`{place}`" for place in attack.held) or "nowhere yet"
        shown = "<br>".join(f"[`{file}`](../../tests/attacks/{file})" for file in files)
        if name in waiting:
            shown = f"**not held yet**: {waiting[name]}"
        lines.append(f"| {name} | {attack.what} | {held} | {shown or '**no test yet**'} |")
    return "\n".join([*lines, "", END])


def page(old: str) -> str:
    """The page with its table as it should be now."""
    before, _, rest = old.partition(BEGIN)
    return before + table() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
