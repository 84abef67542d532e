"""The pinned roots of AMD, Intel and AWS are the ones that their vendors name."""

from __future__ import annotations

import hashlib

import pytest

from sealmesh.attestation.vendors.roots import TABLES, check_pin, load_root
from sealmesh.errors import LocalProtocolError

#: Written here a second time, so that a row cannot change together with its file and nobody notice.
#: Intel: certificates.trustedservices.intel.com; AWS: docs.aws.amazon.com/enclaves, "Verifying the root of trust".
ROOTS = {
    ("amd", "ark_milan.pem"): "69d063b45344d26a2e94e1f4210de49ef555308287d4c174445c95639a540bcd",
    ("amd", "ark_genoa.pem"): "4c6598d19c18719c5dfd4a7d335f674e5bfe1d8f800cea2cf270c10d103db2f1",
    ("amd", "ark_turin.pem"): "1f084161a44bb6d93778a904877d4819cafa5d05ef4193b2ded9dd9c73dd3f6a",
    ("intel", "sgx_root_ca.pem"): "44a0196b2b99f889b8e149e95b807a350e7424964399e885a7cbb8ccfab674d3",
    ("aws", "nitro_root.pem"): "641a0321a3e244efe456463195d606317ed7cdcc3c1756e09893f3c68f79bb5b",
}


@pytest.mark.parametrize(("vendor", "name"), list(ROOTS))
def test_the_roots_are_the_vendors(vendor: str, name: str) -> None:
    assert hashlib.sha256(load_root(vendor, name)).hexdigest() == TABLES[vendor][name] == ROOTS[vendor, name]


@pytest.mark.parametrize("vendor", ["amd", "intel", "aws"])
def test_every_row_has_its_file(vendor: str) -> None:
    for name, digest in TABLES[vendor].items():
        assert hashlib.sha256(load_root(vendor, name)).hexdigest() == digest


def test_another_file_under_a_roots_name() -> None:
    with pytest.raises(LocalProtocolError, match="not the one that is pinned"):
        check_pin(load_root("amd", "ark_milan.pem"), TABLES["amd"]["ark_genoa.pem"])


@pytest.mark.parametrize("name", [("amd", "ark_naples.pem"), ("nobody", "root.pem")])
def test_no_row(name: tuple[str, str]) -> None:
    with pytest.raises(LocalProtocolError, match="no pinned root"):
        load_root(*name)
