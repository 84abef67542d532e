"""The security checks of vendors' evidence and of strangers' files, for `tools.mutants_list`."""

from __future__ import annotations

from tools.mutants_check import Check
from tools.mutants_check import checks_of as _of

_A = "attacks/test_"
_VENDORS = "unit/attestation/vendors/"
_APPLE = (
    _VENDORS + "test_apple_attest.py",
    _VENDORS + "test_apple_app_attest.py",
    _VENDORS + "test_apple_mda.py",
    _A + "a06_apple.py",
)
_TPM = ("unit/attestation/tpm", _A + "a06_tpm.py")

CHECKS: list[Check] = [
    *_of("attestation/appraise.py", _A + "a08_stale_files.py", check_saved_time="return"),
    *_of(
        "attestation/appraise.py",
        "unit/attestation/test_appraise.py",
        appraise_raw_untrusted="drop: demanded =",
        judge_raw_binding=("never: failed", "never: finding.bound"),
    ),
    *_of("attestation/vendors/roots.py", _VENDORS + "test_roots_of_devices.py", check_pin="return"),
    *_of("attestation/vendors/cbor_map.py", *_APPLE, check_keys="return"),
    *_of(
        "attestation/vendors/ec_chain.py",
        _VENDORS + "test_ec_chain.py",
        *_APPLE,
        verify_chain_untrusted=("drop: check_issued", "drop: check_validity", "drop: _check_extensions"),
        check_issued_untrusted=("return", "never: _CURVES", "never: _HASHES"),
        check_validity="return",
        _check_extensions_untrusted=(
            "never: one.critical",
            "never: is_issuer or",
            "never: not is_issuer",
            "never: depth - 1",
        ),
        _load="never: der[",
    ),
    *_of(
        "attestation/vendors/apple_attest.py",
        *_APPLE,
        verify_attestation_untrusted=(
            "drop: check_leaf_nonce",
            "drop: _check_credential",
            "drop: check_app_id",
            "never: fields.counter",
        ),
        verify_assertion_untrusted=("drop: check_assertion_signature", "drop: check_app_id", "never: fields.counter"),
        check_leaf_nonce="return",
        check_assertion_signature_untrusted="return",
        check_app_id="return",
        _check_credential=("never: fields.credential", "never: fields.cose_key"),
    ),
    *_of(
        "attestation/vendors/apple_app_attest.py",
        *_APPLE,
        "unit/attestation/test_hardware_hosts.py",
        Counters__check="never: known is not None",
        verify_app_attest_untrusted=("never: Environment.PRODUCTION", "drop: counters.check"),
        judge_app="return: ()",
        judge_code=("never: assertion.cdhash.hex()", "never: MacState.LOCKED", "never: _DISTRIBUTED"),
    ),
    *_of("attestation/vendors/apple_enclave.py", *_APPLE, check_key_signed_untrusted="return"),
    *_of(
        "attestation/vendors/apple_mda.py",
        *_APPLE,
        check_certified_key="return",
        verify_mda_untrusted=("drop: check_certified_key", "drop: check_key_signed"),
        judge_state=("never: mac.sip", "never: mac.secure_boot", "never: age > limit"),
    ),
    *_of(
        "attestation/vendors/nvidia.py",
        _VENDORS + "test_nvidia.py",
        _A + "a06_nvidia.py",
        verify_report_untrusted=("drop: check_report_signature", "drop: check_nonce", "never: matches is False"),
        check_report_signature_untrusted="return",
        check_nonce="return",
    ),
    *_of(
        "attestation/vendors/guest.py",
        _VENDORS + "test_sevsnp.py",
        _A + "a07_stolen_reports.py",
        check_binding="return",
    ),
    *_of(
        "attestation/vendors/guest.py",
        _VENDORS + "test_sevsnp.py",
        keeps_owner_out=(
            "return: judgement.blinds and BackendRule.LOCAL.allows(statement.backend) and not statement.accelerators",
            "return: judgement.tier is Tier.CONFIDENTIAL and BackendRule.LOCAL.allows(statement.backend)",
            "return: judgement.tier is Tier.CONFIDENTIAL and judgement.blinds and not statement.accelerators",
        ),
    ),
    *_of("attestation/vendors/der.py", _VENDORS + "test_sevsnp.py", _A + "a08_old_reports.py", check_time="return"),
    *_of(
        "attestation/vendors/sevsnp.py",
        _VENDORS + "test_sevsnp.py",
        _A + "a06_sevsnp.py",
        verify_report_untrusted=("drop: check_endorsed", "drop: check_signature"),
        check_signature="return",
        check_no_debug="return",
        check_vmpl="return",
        check_firmware="return",
        _platform="never: report.migratable",
        _code="never: report.measurement",
    ),
    *_of(
        "attestation/vendors/sevsnp_chain.py",
        _VENDORS + "test_sevsnp.py",
        _A + "a06_sevsnp.py",
        _A + "a07_stolen_reports.py",
        _A + "a08_old_reports.py",
        verify_leaf_untrusted=("drop: check_issued", "drop: check_time"),
        check_issued="return",
        check_endorsed=(
            "never: report.key",
            "never: generation.processors",
            "never: report.tcb_parts",
            "never: report.chip_id != padded",
        ),
    ),
    *_of(
        "attestation/vendors/tdx.py",
        _VENDORS + "test_tdx.py",
        _A + "a06_tdx.py",
        verify_quote_untrusted="never: quote.is_tdx",
        check_no_debug="return",
        check_status=("return", "never: _NEVER"),
        _judge_guest="never: migratable",
        _judge_code=("never: any(", "never: missing"),
    ),
    *_of(
        "attestation/vendors/tdx_quote.py",
        _VENDORS + "test_tdx.py",
        _A + "a06_tdx.py",
        check_chain_form_untrusted="return",
    ),
    *_of(
        "attestation/vendors/nitro.py",
        _VENDORS + "test_nitro.py",
        _A + "a06_nitro.py",
        verify_document_untrusted=("drop: check_document_time", "drop: check_signature"),
        check_document_time="return",
        check_signature="return",
        check_no_debug="return",
        _judge_code=("never: all(", "never: any("),
    ),
    *_of(
        "attestation/vendors/tpm/quote.py",
        *_TPM,
        verify_key_untrusted="drop: check_attestation_key",
        verify_quote_untrusted="drop: check_signer",
        check_attestation_key=("return", "never: _NEEDED"),
        check_signer="return",
        check_extra_data="return",
        _verify_registers="never: quote.digest",
        require_registers="return: 'sha1'",
    ),
    *_of(
        "attestation/vendors/tpm/structures.py",
        *_TPM,
        verify_signature_untrusted=("never: used != public.scheme", "drop: public.key.verify"),
        require_hash="return: (HASHES.get(algorithm) or hashes.SHA1)()",
        require_bank="return: BANKS[bank]",
    ),
    *_of("attestation/vendors/tpm/raw_file.py", *_TPM, _check_every_bank="return"),
    *_of("attestation/vendors/tpm/eventlog.py", *_TPM, check_boot_log="return: ()"),
    *_of(
        "attestation/vendors/tpm/assess.py",
        *_TPM,
        judge_standing_untrusted="drop: check_same_key",
        check_same_key="return",
        judge_boot=("never: wrong", "never: policy.require_secure_boot"),
    ),
    *_of("attestation/vendors/tpm/evidence.py", *_TPM, verify_tpm_untrusted="drop: check_extra_data"),
    *_of("attestation/vendors/tpm/credential.py", *_TPM, Activation__check_untrusted="return"),
    *_of(
        "attestation/vendors/tpm/certificates.py",
        *_TPM,
        verify_endorsement_untrusted=("drop: check_leaf", "drop: check_use"),
        check_leaf="return",
        check_use="return",
        _check_critical="return",
        _issued=("never: signed_by_strong_hash", "return: True"),
        _below="never: constraints.ca",
    ),
]

#: Functions named like checks that are not in the list, and why: `module:function`.
NOT_LISTED: dict[str, str] = {
    "attestation/vendors/apple_enclave.py:verify_enclave_untrusted": "reads, and calls a check that is listed",
    "attestation/vendors/apple_mda.py:verify_certificate_untrusted": "reads, and calls a check that is listed",
    "attestation/vendors/nitro.py:verify_nitro_untrusted": "calls checks that are listed",
    "attestation/vendors/nvidia.py:verify_nvidia_untrusted": "reads, and calls checks that are listed",
    "attestation/vendors/sevsnp.py:verify_sevsnp_untrusted": "calls checks that are listed",
    "attestation/vendors/software.py:verify_software_untrusted": "reads, and calls checks that are listed",
    "attestation/vendors/tdx.py:_Library.verify_with_root_ca": "declares what dcap-qvl has",
    "attestation/vendors/tdx.py:verify_sgx_untrusted": "calls checks that are listed",
    "attestation/vendors/tdx.py:verify_tdx_untrusted": "calls checks that are listed",
}
