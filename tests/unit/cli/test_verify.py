"""`sealmesh verify`: which options go together, what is printed where, and how the command ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kit import builds
from kit.attested import NONCE, NOW, VERIFIER_ID, ProvenHost
from sealmesh.attestation.appraise import Appraisal
from sealmesh.attestation.factors import Factor, FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.kinds import RAW_KINDS
from sealmesh.attestation.proof import SavedProof
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.cli.app import app
from sealmesh.cli.explain import QUESTIONS, explain_lines, headline
from sealmesh.cli.terminal import Tone
from sealmesh.cli.verify import Request, appraise, find_kind, parse_time, verify
from sealmesh.errors import ConfigError, VerificationError

PLAIN = Tone(coloured=False)


@pytest.fixture
def proof(tmp_path: Path) -> Path:
    host = ProvenHost()
    answer = host.answer()
    saved = SavedProof(
        endpoint_id=host.endpoint_id,
        verifier_id=VERIFIER_ID,
        nonce=NONCE,
        path=answer.path,
        saved_at=NOW,
        host_statement=answer.host_statement,
        envelope=answer.envelope,
        epoch=host.epoch(),
    )
    path = tmp_path / "host.sealmesh"
    path.write_bytes(saved.encode())
    return path


def write(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def test_a_proof_is_judged_by_the_readers_policy(proof: Path, tmp_path: Path) -> None:
    policy = write(tmp_path, "policy.toml", b'minimum = "self-asserted"')
    assert not appraise(Request(files=[proof]), now=NOW)[0].verified
    assert appraise(Request(files=[proof], policy=policy), now=NOW)[0].verified
    assert appraise(Request(files=[proof], policy=write(tmp_path, "empty.toml", b"")), now=NOW)[0].verified
    assert not appraise(Request(files=[proof], policy=policy, at="2027-01-15T10:00:00Z"), now=NOW)[0].verified


def test_a_proof_is_judged_by_the_readers_list_of_builds(tmp_path: Path) -> None:
    host = ProvenHost()
    answer = host.answer(measurement=builds.measurement(), platform=builds.PLATFORM)
    saved = SavedProof(
        endpoint_id=host.endpoint_id,
        verifier_id=VERIFIER_ID,
        nonce=NONCE,
        path=answer.path,
        saved_at=NOW,
        host_statement=answer.host_statement,
        envelope=answer.envelope,
        epoch=host.epoch(),
    )
    proof = write(tmp_path, "host.sealmesh", saved.encode())
    keys = ", ".join(f'"{key.hex()}"' for key in builds.trust().keys)
    text = f'[measurement]\nlist = "{builds.NAME}"\nkeys = [{keys}]\nthreshold = 2\nrequired = true\n'
    policy = write(tmp_path, "policy.toml", text.encode())
    good = write(tmp_path, "list.json", builds.signed(now=NOW))
    other = write(tmp_path, "other.json", builds.signed(builds.build("another"), now=NOW))
    short = write(tmp_path, "short.json", builds.signed(now=NOW, by=["ada"]))
    assert appraise(Request(files=[proof], policy=policy, blessed=good), now=NOW)[0].verified
    for given, reason in ((other, "its build is not on version 1"), (None, "no signed list")):
        (judged,) = appraise(Request(files=[proof], policy=policy, blessed=given), now=NOW)
        assert not judged.verified
        assert any(reason in one for one in judged.reasons)
    with pytest.raises(VerificationError, match="1 of the 2"):
        appraise(Request(files=[proof], policy=policy, blessed=short), now=NOW)
    with pytest.raises(ConfigError, match="--blessed is a list of builds"):
        appraise(Request(files=[proof], blessed=good), now=NOW)


def test_json_is_on_stdout_one_object_a_file_and_reasons_on_stderr(
    proof: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The proof is of 2027, ahead of every clock until then; after that it is refused for its tier.
    assert verify(Request(files=[proof, proof]), as_json=True, explain=False) == 1
    said = capsys.readouterr()
    objects = [json.loads(line) for line in said.out.splitlines()]
    assert len(objects) == 2
    assert set(objects[0]) == {
        "verified",
        "tier",
        "tier_if_bound",
        "code_measured",
        "operator_blind",
        "factors",
        "claims",
    }
    assert objects[0]["verified"] is False
    assert said.err.count("refused") == 2


def test_for_people_the_words_are_on_stdout(proof: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify(Request(files=[proof]), as_json=False, explain=True) == 1
    said = capsys.readouterr()
    assert said.err == ""
    assert "refused" in said.out
    assert "What was checked" in said.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nonce": "00"}, "--nonce is for a vendor's raw evidence"),
        ({"report_data": "00"}, "--report-data is for"),
        ({"unbound": True}, "--unbound is for"),
        ({"app_id": "x"}, "--app-id is for"),
        ({"given": ["vcek=x"]}, "--with is for"),
        ({"kind": "unheard-of"}, "--kind is one of"),
        ({"at": "yesterday"}, "--at wants"),
        ({"at": "2026-11-22T10:00:00"}, "with its offset"),
        ({"policy": Path("/nowhere/policy.toml")}, "cannot be read"),
    ],
)
def test_options_that_do_not_go_together_are_refused(proof: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        appraise(Request(files=[proof], **changes), now=NOW)  # type: ignore[arg-type]


def test_what_is_no_proof_is_unreadable_and_a_damaged_one_refused(proof: Path, tmp_path: Path) -> None:
    for content in (b"", b"-----BEGIN", bytes(1184), b"{}"):
        with pytest.raises(ConfigError):
            appraise(Request(files=[write(tmp_path, "other", content)]), now=NOW)
    with pytest.raises(ConfigError, match="cannot be read"):
        appraise(Request(files=[tmp_path / "nothing"]), now=NOW)
    damaged = write(tmp_path, "damaged", proof.read_bytes() + b"\x00")
    assert appraise(Request(files=[damaged]), now=NOW)[0].reasons[0].startswith("binding: ")


def test_a_misspelt_policy_is_not_a_policy(proof: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key"):
        appraise(Request(files=[proof], policy=write(tmp_path, "policy.toml", b'minimun = "none"')), now=NOW)


def test_raw_options_that_do_not_go_together_are_refused(proof: Path) -> None:
    cases = {
        "--unbound says": {"unbound": True, "nonce": "00"},
        "has no role 'root'": {"given": [f"root={proof}"]},
        "ROLE=PATH": {"given": ["vcek"]},
        "given twice": {"given": [f"vcek={proof}", f"vcek={proof}"]},
        "--app-id is for --kind app-attest": {"unbound": True, "app_id": "TEAM.app"},
        "--nonce wants hex": {"nonce": "xyz"},
        "--report-data wants 1 to": {"report_data": ""},
        "cannot be read": {"given": ["vcek=/nowhere"]},
    }
    for words, changes in cases.items():
        with pytest.raises(ConfigError, match=words):
            appraise(Request(files=[proof], kind="sev-snp", **changes), now=NOW)  # type: ignore[arg-type]


def test_a_kind_whose_extension_is_not_installed_is_unreadable_not_refused() -> None:
    def never(_: RawInput) -> RawFinding:
        raise AssertionError

    missing = RawKind(name="x", judge_untrusted=never, extension="no_such_extension")
    with pytest.raises(ConfigError, match="pip install 'no_such_extension'"):
        find_kind("x", {"x": missing})
    for name, kind in RAW_KINDS.items():
        assert find_kind(name) is kind  # all are installed where this is developed


def test_times() -> None:
    assert parse_time("2027-01-15T08:00:00Z") == NOW
    assert parse_time("2027-01-15T09:00:00+01:00") == NOW


def test_help_lists_every_kind_and_role() -> None:
    shown = CliRunner().invoke(app, ["verify", "--help"], prog_name="sealmesh").stdout
    for kind in RAW_KINDS.values():
        assert f"\n  {kind.name}" in shown
        for role in kind.roles:
            assert f"    {role}=" in shown


# --- words --------------------------------------------------------------------------------------------------------


def appraisal(**changes: object) -> Appraisal:
    usual: dict[str, object] = {
        "verified": True,
        "tier": Tier.HARDWARE_ROOTED,
        "tier_if_bound": Tier.HARDWARE_ROOTED,
        "factors": (),
        "kind": "sev-snp",
    }
    return Appraisal(**{**usual, **changes})  # type: ignore[arg-type]


def test_a_hardware_rooted_tier_says_that_the_owner_can_read_prompts() -> None:
    words = "a genuine AMD chip answered for this host; its owner can read prompts"
    bound = Factor(factor=FactorId.BINDING, status=Status.PASS, source=Source.HARDWARE, reason="x")
    assert headline("x", appraisal(factors=(bound,)), PLAIN) == f"x: verified: hardware-rooted: {words}"
    assert headline("x", appraisal(), PLAIN).endswith("(bound to nothing: whose, and of when, is not shown)")
    assert "a genuine Infineon chip" in headline("x", appraisal(kind="tpm2", claims={"vendor": "infineon"}), PLAIN)
    assert any(words in line for line in explain_lines(appraisal(), PLAIN, saved=True))


def test_the_words_never_promise_more_than_software_blindness() -> None:
    best = appraisal(tier=Tier.CONFIDENTIAL, code_measured=True, operator_blind=OperatorBlind.SOFTWARE)
    said = "\n".join(explain_lines(best, PLAIN, saved=False))
    assert "Whoever opens the machine can." in said
    assert "nothing ties it to a host" in said.lower()


def test_evidence_that_is_not_bound_names_what_it_would_be() -> None:
    unbound = appraisal(verified=False, tier=Tier.NONE, reasons=("nothing ties it",))
    assert headline("x", unbound, PLAIN) == "x: refused: none: nothing was proven"
    assert "it would be hardware-rooted" in "\n".join(explain_lines(unbound, PLAIN, saved=False))


def test_text_of_a_peer_does_not_reach_the_terminal_as_it_is() -> None:
    said = "\n".join(
        [
            headline("x\x1b[2J", appraisal(claims={"vendor": "\x1b[31mEvil\u202e"}), PLAIN),
            *explain_lines(appraisal(claims={"ch\x1bip": "\x07\u202e"}, reasons=("\x1b",)), PLAIN, saved=True),
        ]
    )
    assert not any(letter in said for letter in "\x1b\x07\u202e")


def test_every_factor_has_its_question() -> None:
    assert set(QUESTIONS) == set(FactorId)
