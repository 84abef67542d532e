"""AWS Nitro Enclaves: an attestation document of the hypervisor (ATTESTATION.md, AWS Nitro).

Procedure: 1. read the frame and the document in it, of which nothing is believed yet; 2. the document is not from the
future; 3. the certificate up to the pinned root through the bundle inside, within its time; 4. the signature (ES384)
over the document; 5. what it is bound to; 6. never a debug enclave; 7. PCR0 to PCR2 by policy.

What it shows: the enclave's owner is kept out. AWS, whose hypervisor signs, is not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from sealmesh.attestation.factors import Factor, FactorId, Source, Tier
from sealmesh.attestation.vendors.base import EvidenceInput, EvidenceKind, Finding
from sealmesh.attestation.vendors.ec_chain import leaf_key, verify_chain_untrusted
from sealmesh.attestation.vendors.guest import (
    Judgement,
    compare_asked,
    find_for_file,
    find_for_host,
    lacking,
    listed,
    passed,
)
from sealmesh.attestation.vendors.nitro_document import (
    PCR_BYTES,
    Document,
    parse_document_untrusted,
    unwrap_dstack_untrusted,
)
from sealmesh.attestation.vendors.raw import RawFinding, RawInput, RawKind
from sealmesh.attestation.vendors.roots import load_root
from sealmesh.errors import VerificationError
from sealmesh.limits import CLOCK_SKEW_S

#: The document as the hypervisor gave it: COSE_Sign1, untagged or tagged.
TYPE: Final = "application/vnd.sealmesh.nitro"
LABEL: Final = "nitro"
TABLE: Final = "nitro"
#: Enclave image, kernel and boot ramdisk, application. The others are of the instance, or of who signed the image.
IMAGE_PCRS: Final = ("0", "1", "2")


def verify_nitro_untrusted(evidence: EvidenceInput) -> Finding:
    """Judge a host's document.

    Raises:
        VerificationError: It does not hold; its factor says what.
    """
    document, key = verify_document_untrusted(evidence.record.data, evidence.now)
    judgement = judge_document(document, key, evidence.policy.vendors.get(TABLE, {}))
    return find_for_host(judgement, evidence, document.user_data)


def judge_nitro_untrusted(raw: RawInput) -> RawFinding:
    """Judge a document as a file: COSE, or the container in which dstack keeps it.

    Raises:
        VerificationError: It does not hold; its factor says what.
    """
    document, key = verify_document_untrusted(unwrap_dstack_untrusted(raw.data), raw.now)
    binding = compare_asked((raw.nonce, document.nonce), (raw.report_data, document.user_data))
    return find_for_file(judge_document(document, key, raw.policy.vendors.get(TABLE, {})), binding)


def verify_document_untrusted(data: bytes, now: float) -> tuple[Document, ec.EllipticCurvePublicKey]:
    """Return a document that AWS's hypervisor signed, and the key.

    Args:
        data: COSE_Sign1.
        now: Unix seconds.

    Raises:
        VerificationError: Factor `vendor_chain` or `attestation_key`.
    """
    # 1. Read it.
    document = parse_document_untrusted(data)
    # 2. A document may be made while this clock is a little behind; the certificate is made seconds before it.
    check_document_time(document, now)
    moment = max(now, document.timestamp)
    # 3. The chain. AWS orders the bundle from the root down.
    chain = (document.leaf, *reversed(document.bundle))
    leaf = verify_chain_untrusted(chain, root=load_root("aws", "nitro_root.pem"), now=moment)
    key = leaf_key(leaf, ec.SECP384R1)
    # 4. The signature.
    check_signature(document, key)
    return document, key


def check_document_time(document: Document, now: float) -> None:
    """Refuse a document from the future (attack A08). How old one may be, its certificate says, which lives 3 hours.

    Raises:
        VerificationError: Factor `vendor_chain`.
    """
    if document.timestamp > now + CLOCK_SKEW_S:
        raise VerificationError("vendor_chain", "the document is from the future")


def check_signature(document: Document, key: ec.EllipticCurvePublicKey) -> None:
    """Refuse a document that the certified key did not sign: a software key in a hardware blob (attack A06).

    Raises:
        VerificationError: Factor `attestation_key`.
    """
    r, s = document.signature[:PCR_BYTES], document.signature[PCR_BYTES:]
    signature = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
    try:
        key.verify(signature, document.signed, ec.ECDSA(SHA384()))
    except (InvalidSignature, ValueError) as error:
        raise VerificationError("attestation_key", "the hypervisor's key did not sign this document") from error


def judge_document(document: Document, key: ec.EllipticCurvePublicKey, table: Mapping[str, object]) -> Judgement:
    """Hold a genuine document against the policy's `[nitro]` table.

    Raises:
        VerificationError: A debug enclave; factor `platform_state`.
    """
    pcrs = {str(number): value.hex() for number, value in sorted(document.pcrs.items())}
    check_no_debug(pcrs)
    public = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return Judgement(
        factors=(
            passed(FactorId.VENDOR_CHAIN, "AWS's pinned root certifies the key"),
            passed(FactorId.ATTESTATION_KEY, "the hypervisor signed the document", source=Source.HARDWARE),
            passed(FactorId.PLATFORM_STATE, "no debug enclave; AWS itself is not kept out", source=Source.HARDWARE),
            _judge_code(pcrs, table.get("pcrs")),
        ),
        fingerprint=hashlib.sha256(public).digest(),
        claims={
            "module_id": document.module,
            "keeps_out": "the instance's owner, not AWS",
            **{f"pcr{number}": value for number, value in pcrs.items() if value.strip("0")},
        },
    )


def check_no_debug(pcrs: Mapping[str, str]) -> None:
    """Refuse an enclave whose image registers are zero: its owner reads its console, whatever the lists say.

    Args:
        pcrs: Register to its digest in hex.

    Raises:
        VerificationError: Factor `platform_state`.
    """
    if not all(pcrs.get(number, "").strip("0") for number in IMAGE_PCRS):
        raise VerificationError("platform_state", "a genuine hypervisor runs this enclave in debug mode")


def _judge_code(pcrs: Mapping[str, str], lists: object) -> Factor:
    if not isinstance(lists, Mapping) or not all(listed(lists, number) for number in IMAGE_PCRS):
        return lacking(FactorId.CODE_MEASUREMENT, "the policy does not list PCR0, PCR1 and PCR2: unknown code")
    if any(pcrs.get(number) not in listed(lists, number) for number in lists):
        return lacking(FactorId.CODE_MEASUREMENT, "a register is not on the policy's list: unknown code")
    return passed(FactorId.CODE_MEASUREMENT, "every listed register is on its list", source=Source.HARDWARE)


KIND: Final = EvidenceKind(verify_untrusted=verify_nitro_untrusted, ceiling=Tier.CONFIDENTIAL)
RAW_KIND: Final = RawKind(name="nitro", judge_untrusted=judge_nitro_untrusted)
