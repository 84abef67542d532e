"""What later evidence of a host must not change while one verdict stands [ST-25]. Pure."""

from __future__ import annotations

from collections.abc import Collection

from sealmesh.attestation.factors import Status, Verdict
from sealmesh.attestation.statement import HostStatement
from sealmesh.errors import VerificationError


def check_same_process(statement: HostStatement, before: HostStatement) -> None:
    """Refuse a later statement of another process: its keys were judged by nobody yet.

    Args:
        statement: The later one.
        before: Of the live answer.

    Raises:
        VerificationError: Factor `host_statement`.
    """
    if statement.statement_key != before.statement_key:
        raise VerificationError("host_statement", "the host's process is a new one; it must answer again")


def check_same_hardware(shown: Collection[bytes | None], before: bytes | None) -> None:
    """Refuse another hardware key within one process of a host: no chip changes while a process runs [ST-25].

    Args:
        shown: Fingerprints of the hardware keys that signed.
        before: Of the key that signed before; None where no key was one to be pinned.

    Raises:
        VerificationError: Factor `attestation_key`; it says which key.
    """
    if before is not None and before not in shown:
        others = ", ".join(one.hex() for one in shown if one is not None) or "none"
        raise VerificationError(
            "attestation_key",
            f"its hardware key has changed: it was {before.hex()}, it is {others}",
            expected=before.hex(),
            got=others,
        )


def check_nothing_turned_bad(found: Verdict, before: Verdict) -> None:
    """Refuse later evidence in which something fails that did not when the host answered: bad news is not waited out.

    Raises:
        VerificationError: The first factor that fails now and did not before.
    """
    failed = {one.factor for one in before.factors if one.status is Status.FAIL}
    for factor in found.factors:
        if factor.status is Status.FAIL and factor.factor not in failed:
            raise VerificationError(factor.id, factor.reason)
