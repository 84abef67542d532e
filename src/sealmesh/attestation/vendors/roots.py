"""Pinned roots: every vendor certificate that this package trusts, as a file, and its SHA-256 in one table per vendor.

A root is trusted because its DER encoding has the digest that is written here, never because of its name, its shape
or the place where it lay: a home-made root with the right names is refused (attack A06). The digest is the one that
vendors print as the SHA-256 fingerprint of the certificate. A file that does not match its row is a fault of this
installation and stops whatever asked for it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType
from typing import Final

from sealmesh.errors import LocalProtocolError

_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"

#: AMD: the root keys (ARK) and what they certify for chips (ASK) and for clouds (ASVK), for each generation.
AMD: Final[Mapping[str, str]] = MappingProxyType(
    {
        "ark_milan.pem": "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
        "ark_genoa.pem": "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
        "ark_turin.pem": "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
        "ask_milan.pem": "67d303bd3905fd38db8b20e0793699870e7fa612eaad5dec358293fd8c0bac1b",
        "ask_genoa.pem": "5464738c1546aed5f2cecf1dc98c5c960a92e8913238a61711bc90ec6e828521",
        "ask_turin.pem": "5b77ef5fe7a7a004fd9032668fba9d0fda22f88c4442069a479636a6ae3b3185",
        "asvk_milan.pem": "c5e081f59b7efab1fe2f8b505e159704e72f29cab7ef7cf628a05a42439082f5",
        "asvk_genoa.pem": "197e610743a917d6b9bb982a5a9226ccc0a15b611be0619e626aca9151457372",
        "asvk_turin.pem": "104e10a8bd060a3c20a434261a57d0588fd65a88915b4f65b08bdecaf8df1a3c",
    }
)

#: Intel: the root of SGX and TDX (certificates of chips, collateral and revocation lists).
INTEL: Final[Mapping[str, str]] = MappingProxyType(
    {"sgx_root_ca.pem": "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3"}
)

#: AWS: the root of Nitro Enclaves.
AWS: Final[Mapping[str, str]] = MappingProxyType(
    {"nitro_root.pem": "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b"}
)

#: Vendor (the folder under `roots/`) to its table.
TABLES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType({"amd": AMD, "intel": INTEL, "aws": AWS})


@functools.cache
def load_root(vendor: str, name: str) -> bytes:
    """Return a pinned certificate, DER.

    Args:
        vendor: A key of `TABLES`.
        name: A key of that vendor's table.

    Raises:
        LocalProtocolError: There is no such row, or the installed file does not have the digest of its row.
    """
    expected = TABLES.get(vendor, {}).get(name)
    if expected is None:
        raise LocalProtocolError(f"no pinned root {vendor}/{name}")
    der = _read_pem((resources.files(__package__) / "roots" / vendor / name).read_text("ascii"))
    check_pin(der, expected)
    return der


def check_pin(der: bytes, expected: str) -> None:
    """Refuse a certificate that is not the pinned one, whatever it says of itself (attack A06).

    Args:
        der: The certificate.
        expected: SHA-256 in hex.

    Raises:
        LocalProtocolError: It is another one.
    """
    if hashlib.sha256(der).hexdigest() != expected:
        raise LocalProtocolError("an installed root certificate is not the one that is pinned; reinstall sealmesh")


def _read_pem(text: str) -> bytes:
    """One certificate of a PEM file. Not `cryptography`: it does not read every vendor's encoding."""
    body = text.partition(_BEGIN)[2].partition(_END)[0]
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except binascii.Error as error:
        raise LocalProtocolError("an installed root certificate is not PEM; reinstall sealmesh") from error
