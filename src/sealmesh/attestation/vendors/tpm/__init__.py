"""TPM 2.0: quotes, endorsement chains, certified attestation keys, boot logs, credential activation."""

from sealmesh.attestation.vendors.tpm.evidence import KIND, TYPE, make_kind
from sealmesh.attestation.vendors.tpm.raw_file import RAW_KIND

__all__ = ["KIND", "RAW_KIND", "TYPE", "make_kind"]
