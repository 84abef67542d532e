"""Endorsements that the operator puts into a folder, for hosts to staple beside their evidence.

They are read at each statement, so that whoever renews them (Intel's collateral, say) only writes the file anew.
"""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from sealmesh.errors import AttesterError
from sealmesh.limits import ENDORSEMENT_FILE_MAX


class EndorsementFolder:
    """The folder; it need not exist.

    Args:
        path: `endorsements` in the node's home.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def path(self) -> Path:
        """The folder."""
        return self._path

    def read(self, *names: str) -> bytes | None:
        """Return the content of the first of these files that is there.

        Raises:
            AttesterError: It is there and cannot be read, or is larger than what an envelope holds.
        """
        for name in names:
            path = self._path / name
            try:
                with path.open("rb") as stream:
                    content = stream.read(ENDORSEMENT_FILE_MAX + 1)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise AttesterError(f"{path} cannot be read ({error.strerror})") from error
            if len(content) > ENDORSEMENT_FILE_MAX:
                raise AttesterError(f"{path} is larger than {ENDORSEMENT_FILE_MAX} bytes; is it the right file?")
            return content
        return None

    def certificates(self, *names: str) -> tuple[bytes, ...]:
        """Return the certificates in the first of these files, DER; the file may be DER or PEM.

        Raises:
            AttesterError: As `read`, or the file holds no certificate.
        """
        content = self.read(*names)
        return () if content is None else to_der(content)


def to_der(content: bytes) -> tuple[bytes, ...]:
    """Return the certificates of one DER or PEM file, DER.

    Raises:
        AttesterError: There is none.
    """
    if b"-----BEGIN" not in content:
        return (content,)  # whoever verifies says whether it is one
    found: tuple[x509.Certificate, ...] = ()
    with contextlib.suppress(ValueError, TypeError), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # vendors' names and serial numbers, which are none of ours to mend
        found = tuple(x509.load_pem_x509_certificates(content))
    if not found:
        raise AttesterError("a file of certificates that was given to be stapled holds none")
    return tuple(one.public_bytes(Encoding.DER) for one in found)
