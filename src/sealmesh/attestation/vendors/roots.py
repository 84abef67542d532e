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

#: TPM vendors: their roots, and the issuers below them, which ship so that a chip's certificate alone is enough. Those
#: of Nuvoton are not here (`cryptography` does not read their encoding), nor any that is signed by SHA-1.
TPM: Final[Mapping[str, str]] = MappingProxyType(
    {
        "globalsign_root.pem": "f27bf02c6e00c73d915eeb6a6a2f5fbf0c31ae0393149e6b5c31e41b113841c3",
        "google_ek_ak_intermediate_v3.pem": "c84de8116dfaf5a908f21e810487791f5437e206d00ad8025050cca6bd2ff627",
        "google_ek_ak_root.pem": "594759594b9b61524f6c8ef668f7177f7b9066bc0674f2f49fe9e052be78beb2",
        "google_ek_intermediate_2.pem": "5d8dbcf8c8053dd8ffad711b6219355032b7122c34cac0f90ccb49def69ec504",
        "google_ek_intermediate_3.pem": "7132b6ea71101f6c51bb58f98c3798c19b65be510eca0344318900510b593178",
        "google_ek_root_1.pem": "9bd5285f8fb18502a7947e621ffd470266f49fcd3b73e19a190f690ad32a7caf",
        "infineon_ecc_010.pem": "aa6a2b54bfbf090b6a2a7abbe494a2b6b47520e1c2ed7807ba54efc99cbdb5c9",
        "infineon_ecc_011.pem": "b559a84e6332a7b4e32b4d3739e372e3c517ba5a4ccffee1daaf80bc641628ee",
        "infineon_ecc_034.pem": "504ff6a327a67e1025b1efdf1bce71ec5f38a4be68256def40bbdec2cce052f1",
        "infineon_ecc_042.pem": "b0756a2cd3d1fda524409d7de5c064405b3c3e8792f8358435292ab2e7248543",
        "infineon_ecc_root.pem": "cfeb02fecd55ad7a73c6e1d11985d4c47dee248ab63dcb66091a2489660443c3",
        "infineon_rsa_010.pem": "0fef986eb5e34a2df81420707c2452abdfe386a3038f23d7568fbcc3cf54bac6",
        "infineon_rsa_011.pem": "a83379f92a341beb61b67f03506644940feb4b85ea504a9d2213bca52c889f89",
        "infineon_rsa_022.pem": "d3c4ec52ed9289842c4f4e1e31fb23c4b03cc91163f9f3748b8a706d81113bed",
        "infineon_rsa_034.pem": "f251134a62f1862992855707c4b3fe5155d47691228fc2a3477014cc30c0d888",
        "infineon_rsa_042.pem": "b51df89142eac690cc57555da0e534a16378b302e0bad3edf0631a328b14ae98",
        "infineon_rsa_root.pem": "899e35474c9807eb4c7f2f7a12da0028fb250cd02154d0009fca7d9c66574f3b",
        "intel_root.pem": "2e1b3ba79af56d758be51697621bc4b9e8cee0983db3e749c55eb9b37c6d2ae0",
        "intel_spth.pem": "e365738ed9d49110756b9fc3a72aae91e473db0f8c0aa4f3691f035c381480d7",
        "stm_ecc_01.pem": "015bcfc3943540d18691bf95c939b0e560b293a835b1c32ff1dced975376ac42",
        "stm_ecc_root_01.pem": "c541d7e5b9e3f935621acbd403896225ec641036c9ae3b5f7ac793a606ff9b79",
        "stm_rsa_01.pem": "6c3ba9f3ce8f095179e42b015fa1e81cf6e260e140fc5ffcb0dd418da5acafd7",
        "stm_rsa_02.pem": "dc62a3b996414573df20bcaf013f0aae47b102e599f63b23c9bf0b6448a60b53",
        "stm_rsa_03.pem": "6b26c20162a9de2d0f69dbc8c04b95c127f5ca5b153d7a01a7a6cf9ab88ad834",
        "stm_rsa_04.pem": "25e87e5f9d8215e78b1a916d5d529b5ad9b3bfb52dbbf2d8c3ab211f6124caca",
        "stm_rsa_05.pem": "870fc181411d24c81e84ec45cd9bcc87b41253342ed688eee6d9139b31b44002",
        "stm_rsa_06.pem": "9343d2d7f3c8708526e6f224563bebda23f534c518f2a1a421ebcce01557247c",
        "stm_rsa_07.pem": "19bbcef93fc0877ae66eba97ade4e15c3d77054f39cd1183486f12b8fa5c42b2",
        "stm_rsa_root.pem": "f8e37a86b689a20a6cc0c40cc3f81fb130fa9f44ce7ffa60d62590aaf87273a9",
    }
)

#: Apple: the roots of App Attest, and of Managed Device Attestation.
APPLE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "app_attestation_root.pem": "1cb9823ba28ba6ad2d33a006941de2ae4f513ef1d4e831b9f7e0fa7b6242c932",
        "enterprise_attestation_root.pem": "ccf59ef8fcb3017d97f8b5fa6fa90e7a3f9283f76b55ac6cf6eda8b8b949f05b",
    }
)

#: NVIDIA: the root of every device's identity.
NVIDIA: Final[Mapping[str, str]] = MappingProxyType(
    {"device_identity_root.pem": "102bf659d5419614c9d8e6aecebc80454eb26b1df6a769ac720b9a690b167b48"}
)

#: Vendor (the folder under `roots/`) to its table.
TABLES: Final[Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {"tpm": TPM, "amd": AMD, "intel": INTEL, "aws": AWS, "apple": APPLE, "nvidia": NVIDIA}
)


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
