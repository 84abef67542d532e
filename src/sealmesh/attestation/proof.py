"""A verdict as a file: what a stranger needs to judge a host again, offline (ATTESTATION.md, Verdict).

The file is itself an envelope. The evidence lies in it as it was received, beside what it binds. That the nonce was
fresh, and that the connection proved the endpoint id, rest on the word of who saved it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sealmesh.attestation.challenge import ENDPOINT_ID_BYTES, NONCE_BYTES
from sealmesh.attestation.envelope import Envelope, Record, Role
from sealmesh.errors import VerificationError
from sealmesh.identity.signed import Signed
from sealmesh.limits import EPOCH_STATEMENT_MAX, EVIDENCE_MAX, HOST_STATEMENT_MAX, KIB

#: An envelope, a statement, the epoch's statement, nonce and path, with their labels.
PROOF_MAX: Final = EVIDENCE_MAX + HOST_STATEMENT_MAX + EPOCH_STATEMENT_MAX + 4 * KIB

_STATEMENT: Final = ("host-statement", "application/vnd.sealmesh.host-statement", Role.REFERENCE)
_EVIDENCE: Final = ("evidence", "application/vnd.sealmesh.envelope+cbor", Role.EVIDENCE)
_EPOCH: Final = ("epoch-statement", "application/vnd.sealmesh.epoch-statement", Role.REFERENCE)
_CHALLENGE: Final = ("challenge", "application/vnd.sealmesh.challenge", Role.REFERENCE)
_HEAD_BYTES: Final = ENDPOINT_ID_BYTES + ENDPOINT_ID_BYTES + NONCE_BYTES + 8


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedProof:
    """What a client held when it judged a host.

    Attributes:
        endpoint_id: The host's, as the connection proved it, 32 bytes.
        verifier_id: The client's own, 32 bytes.
        nonce: What the client sent, 32 bytes.
        path: The Merkle path of the answer.
        saved_at: When it was judged, Unix seconds in whole milliseconds.
        host_statement: As received.
        envelope: As received.
        epoch: The epoch statement that stood then.
    """

    endpoint_id: bytes
    verifier_id: bytes
    nonce: bytes
    path: bytes
    saved_at: float
    host_statement: bytes
    envelope: bytes
    epoch: Signed

    def encode(self) -> bytes:
        """Return the file's content [ST-70]."""
        saved_ms = round(self.saved_at * 1000).to_bytes(8, "big")
        challenge = self.endpoint_id + self.verifier_id + self.nonce + saved_ms + self.path
        contents = (
            (_STATEMENT, self.host_statement),
            (_EVIDENCE, self.envelope),
            (_EPOCH, self.epoch.encode()),
            (_CHALLENGE, challenge),
        )
        records = {label: Record(type=kind, data=data, role=role) for (label, kind, role), data in contents}
        return Envelope(records=records).encode(maximum=PROOF_MAX)

    @classmethod
    def parse_untrusted(cls, data: bytes) -> SavedProof:
        """Read a saved proof; nothing in it is verified by that.

        Raises:
            VerificationError: It is none.
        """
        envelope = Envelope.parse_untrusted(data, maximum=PROOF_MAX)
        challenge = _find_untrusted(envelope, _CHALLENGE)
        if len(challenge) < _HEAD_BYTES:
            raise VerificationError("own_nonce", "the saved challenge is cut")
        return cls(
            endpoint_id=challenge[:32],
            verifier_id=challenge[32:64],
            nonce=challenge[64:96],
            saved_at=int.from_bytes(challenge[96:104], "big") / 1000,
            path=challenge[104:],
            host_statement=_find_untrusted(envelope, _STATEMENT),
            envelope=_find_untrusted(envelope, _EVIDENCE),
            epoch=Signed.decode_untrusted(
                _find_untrusted(envelope, _EPOCH), maximum=EPOCH_STATEMENT_MAX, factor="epoch_statement"
            ),
        )


def _find_untrusted(envelope: Envelope, wanted: tuple[str, str, Role]) -> bytes:
    label, kind, role = wanted
    record = envelope.records.get(label)
    if record is None or record.type != kind or record.role is not role:
        raise VerificationError("binding", f"the saved proof has no {label}")
    return record.data
