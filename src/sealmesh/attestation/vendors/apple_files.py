"""App Attest from files: JSON and YAML as collectors of samples write them, or the device's own CBOR.

The YAML reader takes the one form that these files have and refuses everything else, so that no YAML library, with its
tags and anchors, meets hostile bytes.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sealmesh.attestation.factors import Factor, FactorId, OperatorBlind, Source, Status, Tier
from sealmesh.attestation.vendors.apple_app_attest import describe, judge_app, judge_code, judge_state, take_app_id
from sealmesh.attestation.vendors.apple_attest import (
    DIGEST_BYTES,
    verify_assertion_untrusted,
    verify_attestation_untrusted,
)
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.errors import VerificationError

FILE_MAX: Final = 256 * 1024
_DOCUMENTS_MAX: Final = 64
_ENTRY: Final = re.compile(r"([A-Za-z0-9]{1,64}):(?: (.*))?")
_NESTED: Final = "  "
_LITERAL: Final = "|"
#: What YAML would read as something else than the text that stands there.
_SPECIAL: Final = tuple('!&*?|>%@`"{}[],#-')


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The objects of one key, as a file holds them.

    Attributes:
        app_id: `TEAMID.bundle.id`; None where the file does not say.
        key_id: SHA-256 of the public key, 32 bytes; None where the file does not say.
        attestation: CBOR.
        attestation_hash: What the key was attested with, 32 bytes.
        assertion: CBOR; None where there is none.
        assertion_hash: What the assertion binds, by the file; None where it does not say.
    """

    app_id: str | None
    key_id: bytes | None
    attestation: bytes
    attestation_hash: bytes
    assertion: bytes | None
    assertion_hash: bytes | None


def judge_raw_untrusted(given: RawInput) -> RawFinding:
    """Judge a file.

    Raises:
        VerificationError: It does not hold.
    """
    sample = read_sample_untrusted(given)
    # 1. The app: as the reader names it, or as the file does; the signed hash of it holds either way.
    app_id = take_app_id(given.app_id if given.app_id is not None else sample.app_id)
    # 2. The key, and what it signed last: that is what binds.
    asked = _asked(given)
    first = asked if asked is not None and sample.assertion is None else sample.attestation_hash
    attested = verify_attestation_untrusted(sample.attestation, client_data_hash=first, app_id=app_id, now=given.now)
    if sample.key_id not in (None, attested.key_id):
        raise VerificationError("attestation_key", "the file names another key")
    assertion = None
    if sample.assertion is not None:
        second = asked if asked is not None else sample.assertion_hash
        if second is None:
            raise VerificationError("binding", "what the assertion binds is not known: --nonce HEX")
        assertion = verify_assertion_untrusted(sample.assertion, attested=attested, client_data_hash=second)
    # 3. The reader's lists.
    code = judge_code(attested, assertion, given.policy)
    unlisted = judge_app(attested, given.policy)
    factors = [
        _passed(FactorId.ATTESTATION_KEY, "Apple attested the key for this app"),
        _passed(FactorId.VENDOR_CHAIN, "certified up to Apple's App Attestation root"),
        judge_state(attested, is_mac=assertion is not None and assertion.cdhash is not None),
        *(unlisted or (code,)),
    ]
    if asked is not None:
        factors.append(_passed(FactorId.BINDING, "the key signed what was given", Source.HARDWARE))
    return RawFinding(
        tier_if_bound=Tier.HARDWARE_ROOTED,
        bound=asked is not None,
        factors=tuple(factors),
        code_measured=code.status is Status.PASS and not unlisted,
        # Without a host statement nothing says that the model runs inside the code that was measured.
        operator_blind=OperatorBlind.NO,
        claims=describe(attested, assertion),
    )


RAW_KIND: Final = RawKind(
    name="app-attest",
    judge_untrusted=judge_raw_untrusted,
    roles={
        "assertion": "with an attestation in CBOR: an assertion of the same key, in CBOR",
        "client-data-hash": "with an attestation in CBOR and an assertion: what the key was attested with, hex",
    },
)


def read_sample_untrusted(given: RawInput) -> Sample:
    """Read the file, whichever of the three forms it has.

    Raises:
        VerificationError: It has none of them; factor `binding`.
    """
    if len(given.data) > FILE_MAX:
        raise _unreadable("it is too long")
    if given.data.lstrip()[:1] == b"{":
        return _from_json(given.data)
    if given.data.startswith(b"---"):
        return _from_documents(read_documents_untrusted(given.data))
    return _from_cbor(given)


def read_documents_untrusted(data: bytes) -> list[dict[str, str]]:
    """Read YAML documents of the samples' form: entries of one line, literal blocks, and nested entries passed over.

    Raises:
        VerificationError: Anything else is there; factor `binding`.
    """
    try:
        lines = data.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise _unreadable("it is no UTF-8") from error
    documents: list[dict[str, str]] = []
    block: str | None = None  # the entry whose indented lines come now
    literal = False
    for line in lines:
        if line == "---":
            documents.append({})
            block = None
        elif line.startswith(_NESTED) and block is not None:
            if literal:
                documents[-1][block] += line[len(_NESTED) :] + "\n"
        elif line:
            key, value = _entry(line)
            if not documents or len(documents) > _DOCUMENTS_MAX or key in documents[-1]:
                raise _unreadable("an entry is outside of a document, or there twice")
            block = key if value in ("", _LITERAL) else None
            literal = value == _LITERAL
            documents[-1][key] = "" if block is not None else _scalar(value)
    return documents


def _entry(line: str) -> tuple[str, str]:
    match = _ENTRY.fullmatch(line)
    if match is None:
        raise _unreadable("a line is no entry")
    return match[1], match[2] or ""


def _scalar(value: str) -> str:
    if value.startswith("'"):
        inner = value[1:-1]
        if len(value) < 2 or not value.endswith("'") or "'" in inner:
            raise _unreadable("a quoted text does not end")
        return inner
    if value.startswith(_SPECIAL) or " #" in value or ": " in value:
        raise _unreadable("an entry uses YAML beyond plain texts")
    return value


def _from_documents(documents: list[dict[str, str]]) -> Sample:
    attested = next((one for one in documents if one.get("type") == "attestation"), None)
    if attested is None:
        raise _unreadable("it holds no attestation")
    key = attested.get("keyIdBase64")
    asserted = next(
        (one for one in documents if one.get("type") == "assertion" and one.get("keyIdBase64") == key), None
    )
    app_id = f"{attested.get('teamIdentifier', '')}.{attested.get('bundleIdentifier', '')}"
    return Sample(
        app_id=app_id,
        key_id=_base64(attested, "keyIdBase64"),
        attestation=_base64(attested, "attestationBase64"),
        attestation_hash=_digest(_base64(attested, "clientDataHashSha256Base64")),
        assertion=_base64(asserted, "assertionBase64") if asserted is not None else None,
        assertion_hash=_digest(_base64(asserted, "clientDataHashSha256Base64")) if asserted is not None else None,
    )


def _from_json(data: bytes) -> Sample:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable("it is no JSON") from error
    if not isinstance(content, dict):
        raise _unreadable("it is no JSON object")
    asserted = "assertion" in content
    app_id = content.get("app_id")
    return Sample(
        app_id=app_id if isinstance(app_id, str) else None,
        key_id=_base64(content, "key_id"),
        attestation=_base64(content, "attestation"),
        attestation_hash=_hex(content.get("attestation_client_data_hash")),
        assertion=_base64(content, "assertion") if asserted else None,
        assertion_hash=_hex(content.get("assertion_client_data_hash")) if asserted else None,
    )


def _from_cbor(given: RawInput) -> Sample:
    assertion = given.given.get("assertion")
    if assertion is None:
        asked = _asked(given)
        if asked is None:
            raise VerificationError("binding", "what the key was attested with is not known: --nonce HEX")
        first = asked
    else:
        first = _hex(given.given.get("client-data-hash", b"").decode("ascii", errors="replace").strip())
    return Sample(
        app_id=None,
        key_id=None,
        attestation=given.data,
        attestation_hash=first,
        assertion=assertion,
        assertion_hash=None,
    )


def _asked(given: RawInput) -> bytes | None:
    wanted = {one for one in (given.nonce, given.report_data) if one is not None}
    if len(wanted) > 1:
        raise VerificationError("binding", "App Attest binds one hash; a nonce and other report data cannot both hold")
    return _digest(wanted.pop()) if wanted else None


def _digest(value: bytes) -> bytes:
    if len(value) != DIGEST_BYTES:
        raise VerificationError("binding", "App Attest binds a hash of 32 bytes")
    return value


def _hex(value: object) -> bytes:
    if not isinstance(value, str):
        raise _unreadable("a hash is missing")
    try:
        return _digest(bytes.fromhex(value))
    except ValueError as error:
        raise _unreadable("a hash is not hex") from error


def _base64(content: Mapping[str, object], key: str) -> bytes:
    value = content.get(key)
    if not isinstance(value, str):
        raise _unreadable("an object or a key's identifier is missing")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _unreadable("an object is not base64") from error


def _passed(factor: FactorId, reason: str, source: Source = Source.VENDOR_ROOTED) -> Factor:
    return Factor(factor=factor, status=Status.PASS, source=source, reason=reason)


def _unreadable(why: str) -> VerificationError:
    return VerificationError("binding", f"the file holds no App Attest objects: {why}")
