"""Adapters: what chips say becomes records that the verifiers of this package take."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from kit.attested import ProvenHost
from kit.evidence import BOUND, given
from kit.guests import AMD_NOW, TDX_NOW, make_report, snp_key, snp_report, tdx_collateral, tdx_quote
from kit.swtpm import SoftwareTpm, wrapped
from kit.tpm import Firmware, ModelTpm, Vendor, der, p256, pem
from kit.tsm import VCEK, VLEK, FakeKernel, certificate_table
from sealmesh.attestation.envelope import Envelope, Record
from sealmesh.attestation.factors import Tier
from sealmesh.attestation.policy import Policy
from sealmesh.attestation.statement import binding
from sealmesh.attestation.vendors import apple_app_attest, apple_enclave, nvidia, sevsnp, software, tdx
from sealmesh.attestation.vendors.base import EvidenceInput, Finding
from sealmesh.attestation.vendors.guest import stapled_untrusted
from sealmesh.attestation.vendors.sevsnp_report import parse_report_untrusted
from sealmesh.attestation.vendors.tpm.certificates import (
    Use,
    parse_certificates_untrusted,
    verify_endorsement_untrusted,
)
from sealmesh.attestation.vendors.tpm.credential import ActivationMemory, begin_activation
from sealmesh.attestation.vendors.tpm.evidence import TYPE, TYPE_CA, TYPE_EK, TpmEvidence, verify_tpm_untrusted
from sealmesh.attestation.vendors.tpm.structures import parse_public_untrusted
from sealmesh.attesters.apple import Attested
from sealmesh.attesters.files import EndorsementFolder
from sealmesh.attesters.guest import GuestReporter
from sealmesh.attesters.nvidia import GpuReport
from sealmesh.attesters.tpm.chip import Quoted, TpmChip
from sealmesh.attesters.tpm.transport import connector
from sealmesh.errors import AttesterError, AttesterUnavailableError, SealmeshError
from sealmesh.host.attest import (
    AppAttestAttester,
    CombinedAttester,
    EnclaveAttester,
    GpuAttester,
    GuestAttester,
    SoftwareAttester,
    TpmAttester,
)

HOST = ProvenHost()


def judge_tpm(
    records: Mapping[str, Record], tpm: SoftwareTpm, memory: ActivationMemory, bound: bytes, now: float
) -> Finding:
    policy = Policy(vendors={"tpm": {"extra_roots": (tpm.authority.roots.decode(),)}})
    (record,) = (one for one in records.values() if one.type == TYPE)
    return verify_tpm_untrusted(
        EvidenceInput(
            record=record,
            envelope=Envelope.parse_untrusted(Envelope(records=records).encode()),
            binding=bound,
            statement=HOST.statement(),
            endpoint_id=HOST.endpoint_id,
            policy=policy,
            now=now,
        ),
        activated=memory.holds,
    )


def folder(path: Path, tpm: SoftwareTpm) -> EndorsementFolder:
    path.mkdir(exist_ok=True)
    (path / "tpm-issuers.pem").write_bytes(tpm.authority.issuers)
    return EndorsementFolder(path)


@pytest.mark.swtpm
async def test_a_tpm_is_hardware_rooted_once_it_activated_for_this_verifier(tpm: SoftwareTpm, tmp_path: Path) -> None:
    attester = TpmAttester(tpm.chip, folder(tmp_path, tpm))
    bound = binding(HOST.statement().encode())
    records = await attester.attest(bound)
    (certificate,) = parse_certificates_untrusted(next(one.data for one in records.values() if one.type == TYPE_EK))
    now = certificate.not_valid_before_utc.timestamp() + 60
    memory = ActivationMemory()
    before = judge_tpm(records, tpm, memory, bound, now)
    assert (before.tier, before.pinnable) == (Tier.SELF_ASSERTED, True)
    key = certificate.public_key()
    endorsed = verify_endorsement_untrusted(
        certificate,
        use=Use.EK,
        supplied=parse_certificates_untrusted(tpm.authority.issuers),
        extra_roots=parse_certificates_untrusted(tpm.authority.roots),
        now=now,
    )
    assert endorsed.key == key
    public = parse_public_untrusted(TpmEvidence.parse_untrusted(records["tpm2"].data).ak_public)
    activation = begin_activation(endorsed.key, endorsed.digest, public, os.urandom)
    sent = activation.credential
    memory.settle_untrusted(activation, await attester.activate(sent.id_object, sent.encrypted_secret), now)
    after = judge_tpm(await attester.attest(bound), tpm, memory, bound, now)
    assert after.tier is Tier.HARDWARE_ROOTED
    assert after.fingerprint == before.fingerprint
    assert tpm.loaded() == ()


@pytest.mark.swtpm
async def test_the_event_loop_runs_on_while_a_chip_is_slow(tpm: SoftwareTpm, tmp_path: Path) -> None:
    """The chip waits for the loop: were it asked on the loop, it would wait for ever and say so."""
    loop = asyncio.get_running_loop()

    def wait_for_the_loop(_: bytes) -> None:
        if asyncio.run_coroutine_threadsafe(asyncio.sleep(0), loop).result(10) is not None:
            raise AssertionError

    chip = TpmChip(wrapped(connector(tpm.path), wait_for_the_loop))
    assert TYPE in {
        one.type for one in (await TpmAttester(chip, EndorsementFolder(tmp_path)).attest(bytes(32))).values()
    }


@pytest.mark.swtpm
async def test_a_cancelled_operation_cleans_up_and_the_next_waits_for_it(tpm: SoftwareTpm, tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    begun = asyncio.Event()

    def tell(_: bytes) -> None:
        loop.call_soon_threadsafe(begun.set)

    attester = TpmAttester(TpmChip(wrapped(connector(tpm.path), tell)), EndorsementFolder(tmp_path))
    task = asyncio.create_task(attester.attest(bytes(32)))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert "tpm2" in await attester.attest(bytes(32))
    assert tpm.loaded() == ()


@pytest.mark.swtpm
async def test_a_chip_that_is_gone_is_an_error_of_ours(tpm: SoftwareTpm, tmp_path: Path) -> None:
    attester = TpmAttester(tpm.chip, EndorsementFolder(tmp_path))
    await attester.attest(bytes(32))
    tpm.stop()
    with pytest.raises(SealmeshError):
        await attester.attest(bytes(32))
    with pytest.raises(SealmeshError):
        await attester.activate(bytes(34), bytes(256))


@pytest.mark.swtpm
@pytest.mark.parametrize(
    ("id_object", "secret"), [(b"", b""), (bytes(4000), bytes(300)), (bytes(70000), b""), (bytes(200), bytes(200))]
)
async def test_any_bytes_to_activate_are_refused_by_the_chip(
    tpm: SoftwareTpm, tmp_path: Path, id_object: bytes, secret: bytes
) -> None:
    with pytest.raises(AttesterError):
        await TpmAttester(tpm.chip, EndorsementFolder(tmp_path)).activate(id_object, secret)
    assert tpm.loaded() == ()


async def test_a_software_key_stands_beside_a_chip_and_activates_nothing() -> None:
    combined = CombinedAttester([SoftwareAttester(HOST.endpoint_key)])
    assert set(await combined.attest(bytes(32))) == {software.LABEL}
    with pytest.raises(AttesterUnavailableError):
        await combined.activate(b"", b"")


class FixedChip:
    """A chip that quotes a model's registers."""

    def __init__(self, model: ModelTpm, log: bytes, certificate: bytes | None = None) -> None:
        self._model, self._log, self._certificate = model, log, certificate

    def quote(self, extra: bytes) -> Quoted:
        parts = self._model.quote(extra)
        return Quoted(
            ak_public=self._model.ak_public,
            attest=parts.attest,
            signature=parts.signature,
            values=parts.values,
            boot_log=self._log,
            ek_certificate=self._certificate,
        )


async def attested(chip: object, path: Path) -> Mapping[str, Record]:
    return await TpmAttester(chip, EndorsementFolder(path)).attest(bytes(32))  # type: ignore[arg-type]


async def test_a_boot_log_goes_along_only_if_it_gives_the_registers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = ModelTpm()
    log = Firmware(model).boot()
    good = TpmEvidence.parse_untrusted((await attested(FixedChip(model, log), tmp_path))["tpm2"].data)
    assert good.event_log == log
    model.extend(4, bytes(32))  # behind the log's back
    for wrong in (log, b"garbage"):
        bad = TpmEvidence.parse_untrusted((await attested(FixedChip(model, wrong), tmp_path))["tpm2"].data)
        assert bad.event_log == b""
    assert "boot log is left out" in caplog.text


async def test_certificates_that_the_operator_gives_are_stapled(tmp_path: Path) -> None:
    vendor, model = Vendor(), ModelTpm()
    ek = vendor.ek(model)
    given = EndorsementFolder(tmp_path)
    assert {one.type for one in (await attested(FixedChip(model, b""), tmp_path)).values()} == {TYPE}
    (tmp_path / "tpm-ek.pem").write_bytes(pem(ek))
    (tmp_path / "tpm-issuers.pem").write_bytes(pem(vendor.issuer, vendor.root))
    records = await attested(FixedChip(model, b""), tmp_path)
    assert [one.data for one in records.values() if one.type == TYPE_EK] == [der(ek)]
    assert [one.data for one in records.values() if one.type == TYPE_CA] == [der(vendor.issuer), der(vendor.root)]
    stored = await attested(FixedChip(model, b"", b"\x30\x00"), tmp_path)
    assert [one.data for one in stored.values() if one.type == TYPE_EK] == [b"\x30\x00"]
    (tmp_path / "tpm-issuers.pem").write_bytes(b"-----BEGIN NOTHING")
    with pytest.raises(AttesterError, match="holds none"):
        given.certificates("tpm-issuers.pem")
    (tmp_path / "tpm-issuers.pem").write_bytes(bytes(1 << 20))
    with pytest.raises(AttesterError, match="larger"):
        given.certificates("tpm-issuers.pem")


# --- confidential guests, GPUs, Macs ------------------------------------------------------------------------------


def guest(kernel: FakeKernel, path: Path) -> GuestAttester:
    return GuestAttester(GuestReporter(kernel), EndorsementFolder(path))


async def test_an_snp_guest_binds_and_staples_what_its_host_added(tmp_path: Path) -> None:
    kernel = FakeKernel(
        sign=lambda data: make_report(report_data=data), aux=certificate_table((VCEK, b"chip"), (VLEK, b"cloud"))
    )
    bound = binding(HOST.statement().encode())
    records = await guest(kernel, tmp_path).attest(bound)
    assert parse_report_untrusted(records["sev-snp"].data).report_data == bound + bytes(32)
    envelope = Envelope.parse_untrusted(Envelope(records=records).encode())
    assert stapled_untrusted(envelope, sevsnp.ENDORSEMENT_TYPE) == b"chip"


async def test_a_genuine_report_with_the_operators_certificate_verifies(tmp_path: Path) -> None:
    kernel = FakeKernel(sign=lambda _: snp_report())
    with pytest.raises(AttesterError, match=r"vcek\.der"):
        await guest(kernel, tmp_path).attest(bytes(32))
    (tmp_path / "vcek.der").write_bytes(snp_key())
    records = await guest(kernel, tmp_path).attest(bytes(32))
    stapled = stapled_untrusted(Envelope(records=records), sevsnp.ENDORSEMENT_TYPE)
    report, _ = sevsnp.verify_report_untrusted(records["sev-snp"].data, stapled, AMD_NOW)
    assert report.vmpl == 0


async def test_a_genuine_tdx_quote_with_the_operators_collateral_verifies(tmp_path: Path) -> None:
    kernel = FakeKernel(sign=lambda _: tdx_quote(), provider="tdx_guest")
    with pytest.raises(AttesterError, match=r"collateral\.json"):
        await guest(kernel, tmp_path).attest(bytes(32))
    (tmp_path / "collateral.json").write_bytes(tdx_collateral())
    records = await guest(kernel, tmp_path).attest(bytes(32))
    envelope = Envelope.parse_untrusted(Envelope(records=records).encode())
    collateral = stapled_untrusted(envelope, tdx.COLLATERAL_TYPE)
    assert tdx.verify_quote_untrusted(records["tdx"].data, collateral, TDX_NOW, tdx=True).status == "UpToDate"


async def test_gpus_are_asked_with_the_derived_nonce() -> None:
    asked: list[bytes] = []

    class Reporter:
        def reports(self, nonce: bytes) -> tuple[GpuReport, ...]:
            asked.append(nonce)
            return (GpuReport(report=b"one", chain=(b"a", b"b")), GpuReport(report=b"two", chain=(b"c",)))

    records = await GpuAttester(Reporter()).attest(b"b" * 32)  # type: ignore[arg-type]
    assert asked == [nvidia.gpu_nonce(b"b" * 32)]
    assert records == {
        "nvidia-gpu-0": nvidia.make_record(b"one", (b"a", b"b")),
        "nvidia-gpu-1": nvidia.make_record(b"two", (b"c",)),
    }


async def test_a_secure_enclaves_record_is_taken() -> None:
    key = p256("enclave")

    class Enclave:
        def public(self) -> bytes:
            return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

        def sign(self, message: bytes) -> bytes:
            return key.sign(message, ec.ECDSA(SHA256()))

    (record,) = (await EnclaveAttester(Enclave()).attest(BOUND)).values()  # type: ignore[arg-type]
    finding = apple_enclave.verify_enclave_untrusted(given(record))
    assert (finding.tier, finding.pinnable) == (Tier.SELF_ASSERTED, True)


async def test_an_app_attest_record_has_its_four_parts() -> None:
    class Driver:
        app = "TEAM.org.app"

        def attested(self) -> Attested:
            return Attested(key_id="k", attestation=b"attestation", client_data_hash=bytes(32), at=0.0)

        def sign(self, digest: bytes) -> bytes:
            return b"assertion over " + digest

    (record,) = (await AppAttestAttester(Driver()).attest(b"b" * 32)).values()  # type: ignore[arg-type]
    assert record == apple_app_attest.make_record(
        app_id="TEAM.org.app",
        attestation=b"attestation",
        client_data_hash=bytes(32),
        assertion=b"assertion over " + b"b" * 32,
    )


@pytest.mark.parametrize("kind", [GuestAttester, GpuAttester, EnclaveAttester, AppAttestAttester])
async def test_what_is_no_tpm_activates_nothing(kind: type) -> None:
    arguments = (None, None) if kind is GuestAttester else (None,)
    with pytest.raises(AttesterUnavailableError):
        await kind(*arguments).activate(b"", b"")
