"""`sealmesh verify`: judge a saved proof, or evidence as a vendor's tool wrote it, on this machine alone.

Nothing is fetched: the roots are in the package, the rest is in the file or named with `--with`.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from sealmesh.attestation.appraise import (
    DEFAULT_POLICY,
    Appraisal,
    appraise_raw_untrusted,
    appraise_saved_untrusted,
    outcome_of,
)
from sealmesh.attestation.kinds import RAW_KINDS
from sealmesh.attestation.policy import POLICY_MAX, Policy, parse_policy_untrusted
from sealmesh.attestation.vendors import apple_files, tdx
from sealmesh.attestation.vendors.raw import RawInput, RawKind
from sealmesh.cli.explain import explain_lines, headline
from sealmesh.cli.terminal import Tone, escape_peer_text, say
from sealmesh.errors import ConfigError
from sealmesh.limits import BLESSED_LIST_MAX, EVIDENCE_FILE_MAX

#: A saved proof is a CBOR map; its first byte says so. Anything else is not one that was damaged, but another thing.
_CBOR_MAP: Final = 5
#: What an extension installs, by what is installed for it.
_MODULES: Final[Mapping[str, str]] = {tdx.EXTENSION: "dcap_qvl"}
_BOUND_MAX: Final = 1024  # bytes of a nonce or of report data; the longest that a format carries are 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What was asked for, as words of the command line.

    Attributes:
        files: What is judged.
        kind: Whose raw evidence; None for saved proofs.
        given: `ROLE=PATH` each.
        nonce, report_data: Hex.
        unbound: Whether nothing need be bound.
        app_id: For App Attest.
        at: ISO 8601 with its offset.
        policy: A policy file.
        blessed: A signed list of builds, of those whom the policy names.
    """

    files: Sequence[Path]
    kind: str | None = None
    given: Sequence[str] = ()
    nonce: str | None = None
    report_data: str | None = None
    unbound: bool = False
    app_id: str | None = None
    at: str | None = None
    policy: Path | None = None
    blessed: Path | None = None


def verify(request: Request, *, as_json: bool, explain: bool) -> int:
    """Judge and print; return the exit code: 0 verified, 1 refused.

    With `as_json`, stdout has one JSON object a line, in the order of the files, and what is for people goes to stderr.

    Raises:
        ConfigError: A file cannot be read, or the options do not go together; the exit code is 2.
    """
    appraisals = appraise(request, now=time.time())
    tone = Tone.of(sys.stderr if as_json else sys.stdout)
    for path, appraisal in zip(request.files, appraisals, strict=True):
        lines = [headline(str(path), appraisal, tone)]
        if explain:
            lines += explain_lines(appraisal, tone, saved=request.kind is None)
        else:
            lines += [f"  {escape_peer_text(reason, most=400)}" for reason in appraisal.reasons]
        if as_json:
            print(json.dumps(appraisal.describe()))
            if explain or not appraisal.verified:
                say("\n".join(lines))
        else:
            print("\n".join(lines))
    return int(outcome_of(appraisals))


def appraise(request: Request, *, now: float) -> list[Appraisal]:
    """Judge each file.

    Args:
        request: What was asked for.
        now: This machine's clock, Unix seconds.

    Raises:
        ConfigError: As `verify`.
    """
    policy = DEFAULT_POLICY if request.policy is None else _read_policy(request.policy)
    at = None if request.at is None else parse_time(request.at)
    if request.blessed is not None:
        policy = _with_list(policy, request.blessed, now if at is None else at)
    if request.kind is None:
        _refuse_raw_options(request)
        contents = [_read_proof(path) for path in request.files]
        return [appraise_saved_untrusted(content, policy=policy, now=now, at=at) for content in contents]
    kind = find_kind(request.kind)
    nonce, report_data = _hex("--nonce", request.nonce), _hex("--report-data", request.report_data)
    if request.unbound and (nonce is not None or report_data is not None):
        raise ConfigError(
            "--unbound says that nothing is asked for; leave it out where --nonce or --report-data is given"
        )
    if request.app_id is not None and kind.name != apple_files.RAW_KIND.name:
        raise ConfigError(f"--app-id is for --kind {apple_files.RAW_KIND.name}; {kind.name} names no app")
    given = _read_given(kind, request.given)
    contents = [_read_file(path) for path in request.files]
    return [
        appraise_raw_untrusted(
            kind,
            RawInput(
                data=content,
                given=given,
                nonce=nonce,
                report_data=report_data,
                app_id=request.app_id,
                policy=policy,
                now=now if at is None else at,
            ),
            unbound=request.unbound,
        )
        for content in contents
    ]


def find_kind(name: str, kinds: Mapping[str, RawKind] = RAW_KINDS) -> RawKind:
    """The kind of a word.

    Raises:
        ConfigError: There is none, or something that it needs is not installed.
    """
    kind = kinds.get(name)
    if kind is None:
        raise ConfigError(f"--kind is one of {', '.join(kinds)}")
    if kind.extension and importlib.util.find_spec(_MODULES.get(kind.extension, kind.extension)) is None:
        raise ConfigError(f"--kind {name} is an extension; install it with: pip install '{kind.extension}'")
    return kind


def kind_lines() -> list[tuple[str, str]]:
    """Each kind and role with what it is, for `--help`."""
    lines = []
    for kind in RAW_KINDS.values():
        lines.append((kind.name, f"an extension: pip install '{kind.extension}'" if kind.extension else ""))
        lines += [(f"  {role}=", what) for role, what in kind.roles.items()]
    return lines


def parse_time(text: str) -> float:
    """Unix seconds of `2026-11-22T10:00:00Z`.

    Raises:
        ConfigError: It is none, or has no offset.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigError("--at wants a date and time with its offset, such as 2026-11-22T10:00:00Z")
    return moment.timestamp()


def _refuse_raw_options(request: Request) -> None:
    """An option that a saved proof has no use for would be a demand that is not made."""
    named = {
        "--with": bool(request.given),
        "--nonce": request.nonce is not None,
        "--report-data": request.report_data is not None,
        "--unbound": request.unbound,
        "--app-id": request.app_id is not None,
    }
    wrong = [option for option, there in named.items() if there]
    if wrong:
        raise ConfigError(f"{wrong[0]} is for a vendor's raw evidence; say which with --kind")


def _read_proof(path: Path) -> bytes:
    content = _read_file(path)
    if content[0] >> 5 != _CBOR_MAP:
        raise ConfigError(f"{path} is no saved proof; if it is a vendor's raw evidence, say which with --kind")
    return content


def _read_given(kind: RawKind, words: Sequence[str]) -> Mapping[str, bytes]:
    given: dict[str, bytes] = {}
    for word in words:
        role, equals, path = word.partition("=")
        if not equals or not path:
            raise ConfigError("--with wants ROLE=PATH")
        if role not in kind.roles:
            roles = ", ".join(kind.roles) or "none"
            raise ConfigError(f"--with: {kind.name} has no role {role!r}; its roles: {roles}")
        if role in given:
            raise ConfigError(f"--with: {role} was given twice; put both into one file")
        given[role] = _read_file(Path(path))
    return given


def _with_list(policy: Policy, path: Path, now: float) -> Policy:
    """The policy with the list that this file holds, if those whom the policy names have signed it.

    Raises:
        ConfigError: The policy names nobody.
        VerificationError: The list does not hold.
    """
    if policy.blessed_trust is None:
        raise ConfigError("--blessed is a list of builds; name its keys under [measurement] in a --policy")
    from sealmesh.attestation.blessed import read_list_untrusted  # its library is loaded only for this

    return policy.with_blessed(read_list_untrusted(_read_file(path, most=BLESSED_LIST_MAX), policy.blessed_trust, now))


def _read_policy(path: Path) -> Policy:
    return parse_policy_untrusted(_read_file(path, most=POLICY_MAX, empty=True))


def _read_file(path: Path, *, most: int = EVIDENCE_FILE_MAX, empty: bool = False) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(most + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror})") from error
    if not content and not empty:
        raise ConfigError(f"{path} is empty")
    if len(content) > most:
        raise ConfigError(f"{path} is larger than {most} bytes; is it the right file?")
    return content


def _hex(option: str, text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        value = bytes.fromhex(text.removeprefix("0x"))
    except ValueError:
        raise ConfigError(f"{option} wants hex digits") from None
    if not 0 < len(value) <= _BOUND_MAX:
        raise ConfigError(f"{option} wants 1 to {_BOUND_MAX} bytes in hex")
    return value
