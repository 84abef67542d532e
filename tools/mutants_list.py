"""Which security checks are taken out, how, and which tests must notice (see tools/mutants.py).

A change is one of `return: EXPRESSION` (the whole body becomes that), `never: TEXT` and `always: TEXT` (the first
condition that holds the text becomes False or True), `drop: TEXT` (the first statement that holds the text goes), and
`yield` (a context manager that does nothing).
"""

from __future__ import annotations

from tools.mutants_check import Check
from tools.mutants_check import checks_of as _of
from tools.mutants_evidence import CHECKS as EVIDENCE_CHECKS
from tools.mutants_evidence import NOT_LISTED as EVIDENCE_NOT_LISTED

_A = "attacks/test_"
_A03 = _A + "a03_replayed_requests.py"
_A10_LISTS = _A + "a10_blessed_lists.py"
_A07 = _A + "a07_proven_machine_is_not_the_serving_machine.py"
_LINKS = ("unit/mesh/test_links.py", _A + "a16_links.py", _A + "a12_silent_streams.py")

CHECKS: list[Check] = [
    # --- hardening ---
    *_of("hardening/posture.py", "unit/hardening/test_posture.py", require_controls="return"),
    *_of(
        "hardening/linux.py",
        "unit/hardening/test_linux.py",
        apply_not_dumpable="drop: kernel.prctl(kernel.SET_DUMPABLE",
        apply_no_core_dumps="drop: resource.setrlimit(",
        apply_mdwe="drop: kernel.prctl(kernel.SET_MDWE",
    ),
    *_of("hardening/reexec.py", "unit/hardening/test_reexec.py", scrub="return: (environment, [])"),
    *_of("hardening/reexec.py", "unit/hardening/test_reexec.py", is_private_cache="return: True"),
    *_of("hardening/memory.py", "unit/hardening/test_memory.py", _hide_page="return: False"),
    *_of("hardening/memory.py", "unit/hardening/test_memory.py", LockedBytes__pointer="never: _owner"),
    *_of("hardening/environment.py", "unit/hardening/test_environment.py", look_at_environment="never: left"),
    *_of("hardening/environment.py", "unit/hardening/test_environment.py", look_at_libraries="never: strange"),
    *_of(
        "cli/handover.py",
        "unit/cli/test_handover.py",
        is_the_command="return: False",
        is_unhardened="return: True",
        plan="drop: left = scrub(",
    ),
    *_of(
        "node/confine.py",
        "unit/node/test_confine.py",
        confine=("drop: require_controls(", "drop: posture = confine_process("),
    ),
    *_of("backend/fetch.py", "unit/backend/test_fetch.py", environment_of_tools="return: dict(environment)"),
    *_of("attestation/policy.py", "unit/attestation/test_demands.py", Policy__refusals="drop: of its hardening"),
    *_of("attestation/demands.py", "unit/attestation/test_demands.py", judge_posture="never: unmet"),
    *_of("attestation/demands.py", "unit/attestation/test_demands.py", judge_backend="never: allows"),
    *_of("hardening/seccomp.py", "unit/hardening/test_seccomp.py", apply_seccomp="drop: syscall(machine.seccomp"),
    *_of("hardening/landlock.py", "unit/hardening/test_landlock.py", apply_landlock="drop: syscall(_RESTRICT"),
    # --- the sealed exchange ---
    *_of(
        "sealed/machine.py",
        _A + "a01_cut_answers.py",
        _A + "a11_second_answers.py",
        Exchange___open_frames_untrusted=("drop: check_final_untrusted(", "drop: check_nothing_follows_untrusted("),
    ),
    *_of("sealed/machine.py", _A + "a01_cut_answers.py", check_final_untrusted="return"),
    *_of("sealed/machine.py", _A + "a11_second_answers.py", check_nothing_follows_untrusted="return"),
    *_of("sealed/machine.py", "unit/sealed/test_exchange.py", Exchange___fail="drop: self._failure = error"),
    *_of("sealed/machine.py", _A + "a22_seized_hosts.py", "unit/sealed/test_exchange.py", Exchange__wipe="return"),
    *_of("sealed/frames.py", _A + "a13_sealed_frames.py", check_padding_untrusted="return"),
    *_of("sealed/frames.py", "unit/sealed/test_rules.py", next_phase="never: NEEDS_WHOLE_REQUEST"),
    *_of(
        "sealed/stream.py",
        _A + "a13_sealed_frames.py",
        FrameCutter__next_frame_untrusted="drop: check_frame_length_untrusted(",
    ),
    *_of("sealed/frames.py", _A + "a13_sealed_frames.py", decode_frame_untrusted="drop: check_padding_untrusted("),
    *_of("sealed/stream.py", _A + "a13_sealed_frames.py", check_frame_length_untrusted="return"),
    *_of("sealed/stream.py", "unit/sealed/test_stream.py", OpeningStream__open_untrusted=("always: TAG_FINAL",)),
    *_of("sealed/stream.py", "unit/sealed/test_stream.py", SealingStream__seal="never: self._spent"),
    *_of("sealed/stream.py", "unit/sealed/test_stream.py", _Secretstream__wipe="return"),
    *_of("sealed/asking.py", "unit/sealed/test_exchange.py", check_verified="return"),
    *_of("sealed/asking.py", _A + "a10_downgrades.py", check_best_suite="return"),
    *_of("sealed/asking.py", _A + "a01_cut_answers.py", AskingEnd__receive_eof_untrusted="return"),
    *_of(
        "sealed/asking.py",
        "unit/sealed/test_exchange.py",
        check_sealable=("drop: check_fresh", "drop: check_verified("),
    ),
    *_of("sealed/answering.py", _A + "a01_cut_answers.py", AnsweringEnd__receive_eof_untrusted="return"),
    *_of("sealed/asking.py", _A + "a10_downgrades.py", check_sealable="drop: check_best_suite("),
    *_of(
        "sealed/asking.py",
        "unit/client/test_sealing.py",
        SealedSecret____init__="drop: check_sealable(",
        SealedSecret__take="never: keys is None",
        ClientExchange____init__=("drop: check_sealable(", "never: not ahead.is_for"),
    ),
    *_of(
        "sealed/answering.py",
        _A + "a03_replayed_requests.py",
        HostExchange___accept_head_untrusted="drop: _check_replay",
    ),
    *_of("sealed/answering.py", _A03, HostExchange___check_replay_untrusted="return"),
    *_of("sealed/answering.py", "unit/sealed/test_exchange.py", AnsweringEnd___count_received_untrusted="return"),
    *_of(
        "sealed/answering.py",
        "vectors/test_sealed_vectors.py",
        HostExchange___find_key_untrusted=("never: SUITE_ENCAPSULATION_LENGTH", "never: version != VERSION"),
    ),
    *_of(
        "sealed/replay.py",
        _A + "a03_replayed_requests.py",
        "unit/sealed/test_replay.py",
        ReplayTags__insert=("never: self._closed", "never: tag in self._tags", "never: self._maximum"),
    ),
    *_of("sealed/keyring.py", "unit/sealed/test_keyring.py", opens_at="return: True"),
    *_of("sealed/keyring.py", "unit/sealed/test_keyring.py", _A + "a22_seized_hosts.py", KeyRing__expire="return: 0"),
    *_of("sealed/keyring.py", "unit/sealed/test_keyring.py", KeyRing__add="never: held.intersection(names)"),
    *_of("sealed/suites.py", "unit/sealed/test_suites.py", HostKey__wipe="return"),
    *_of("sealed/suites.py", _A + "a10_downgrades.py", best_suite="never: best < floor"),
    *_of("sealed/refusal.py", "unit/sealed/test_exchange.py", parse_refusal_untrusted="never: kind != REFUSAL"),
    *_of(
        "sealed/messages.py",
        "unit/sealed/test_messages.py",
        check_request_head="return: None",
        check_response_head="return: None",
        check_trailer="return: None",
        check_error="return: None",
        _header_fault="return: None",
    ),
    # --- identity ---
    *_of(
        "identity/signed.py",
        "unit/identity/test_keys.py",
        _A + "a16_strangers.py",
        verify_signed_untrusted="return",
        require_signature_length="return",
        Signed__decode_untrusted=("never: signed.encode() != data", "never: len(data) > maximum"),
    ),
    *_of("identity/keys.py", "unit/identity/test_keys.py", _SigningKey__sign="never: label not in self.labels"),
    *_of("identity/grants.py", "unit/identity/test_ticket.py", verify_grant_untrusted="drop: verify_signed_untrusted"),
    *_of("identity/grants.py", "unit/identity/test_admission.py", require_length="return: value"),
    *_of(
        "identity/admission.py",
        "unit/identity/test_admission.py",
        AdmissionPolicy__admit_untrusted=(
            "drop: Factor.GRANT_SIGNATURE",
            "drop: Factor.MEMBERSHIP_SIGNATURE",
            "never: membership.serial != grant.serial",
            "never: membership.endpoint_id != remote_id",
            "never: membership.roles & ~grant.roles",
            "never: grant.not_before > now",
            "drop: self.check(admitted, now)",
        ),
        AdmissionPolicy__check=(
            "return",
            "drop: self._find_issuer",
            "never: now >= admitted.not_after",
            "never: self._revocations.serials",
            "never: self._revocations.endpoint_ids",
        ),
        AdmissionPolicy__offer_revocations_untrusted=(
            "drop: Factor.REVOCATIONS_SIGNATURE",
            "never: revocations.issued > now",
            "never: self._outranks",
        ),
        AdmissionPolicy__offer_successor_untrusted=("never: new_id in self._ranks", "never: ISSUERS_MAX"),
        AdmissionPolicy___find_issuer=("never: issuer.not_before", "never: now >= issuer.until"),
    ),
    *_of(
        "identity/notices.py",
        "unit/identity/test_admission.py",
        SignedSuccessor__verify_untrusted=("drop: verify_signed_untrusted",),
    ),
    *_of("identity/approval.py", "unit/identity/test_approval.py", check_commitment_untrusted="return"),
    *_of(
        "identity/addresses.py",
        "unit/identity/test_addresses.py",
        check_address_untrusted="return",
        check_addresses_untrusted="return",
        check_relay_url_untrusted="return",
    ),
    # --- records ---
    *_of(
        "gossip/record.py",
        "unit/gossip/test_record.py",
        _check_text_untrusted="return",
        _require="return",
        _check_frame_untrusted="return",
        parse_summary_untrusted="drop: verify_signed_untrusted",
        parse_keys_untrusted="drop: verify_signed_untrusted",
    ),
    *_of("gossip/table.py", _A + "a05_rewritten_records.py", RecordTable___check_credentials_untrusted="return"),
    *_of(
        "gossip/table.py",
        "unit/gossip/test_table.py",
        RecordTable__add_untrusted=(
            "never: outline.endpoint_id != endpoint_id",
            "never: outline.sequence < owner.summaries.sequence",
            "never: self._make_room(",
        ),
    ),
    *_of("gossip/table.py", _A + "a05_rewritten_records.py", RecordTable__add_keys_untrusted="never: outline.seq"),
    *_of("gossip/messages.py", "unit/gossip/test_messages.py", _require="return", _require_ascending="return"),
    *_of("gossip/core.py", "unit/gossip/test_core.py", GossipCore___admit_untrusted="drop: self.policy.check"),
    *_of("gossip/core.py", "unit/gossip/test_core.py", GossipCore___send="never: sent.take("),
    *_of("gossip/core.py", "unit/gossip/test_builds.py", GossipCore___on_blessed="never: self.blessed.offer_untrusted"),
    *_of("gossip/messages.py", "unit/gossip/test_builds.py", decode_untrusted="drop: BLESSED_LIST_MAX"),
    # --- attestation ---
    *_of(
        "attestation/verifier.py",
        _A + "a04_swapped_inference_key.py",
        _A + "a08_stale_evidence.py",
        _A07,
        "vectors/test_statement_vectors.py",
        Verifier__verify_live_untrusted=(
            "drop: check_statement_endpoint(",
            "drop: statement.check_time(",
            "drop: check_own_nonce_untrusted(",
            "drop: check_epochs_untrusted(",
        ),
    ),
    *_of("attestation/verifier.py", "unit/attestation/test_required.py", Verifier___judge="drop: check_required("),
    *_of(
        "attestation/statement.py",
        "vectors/test_statement_vectors.py",
        _A + "a04_swapped_inference_key.py",
        EpochStatement__verify_untrusted=("drop: check_epoch_signature(", "drop: check_epoch_endpoint("),
        check_epoch_endpoint="return",
    ),
    *_of(
        "attestation/verifier.py",
        _A + "a07_proven_machine_is_not_the_serving_machine.py",
        check_statement_endpoint="return",
    ),
    *_of("attestation/verifier.py", _A + "a04_swapped_inference_key.py", check_epochs_untrusted="return"),
    *_of("attestation/verifier.py", _A + "a06_software_key_posing.py", cap_finding="return: finding"),
    *_of(
        "attestation/verifier.py",
        "unit/attestation/test_verifier.py",
        check_required="return",
        settle_tier="return: claimed",
        HostVerdict___verify_epoch_untrusted="never: now >= self.expires",
    ),
    *_of("attestation/pins.py", "unit/attestation/test_verifier.py", pin_holds="return: True"),
    *_of("attestation/factors.py", "unit/attestation/test_factors.py", require_factors="return: tuple(factors)"),
    *_of(
        "attestation/statement.py",
        "unit/attestation/test_statement.py",
        _A07,
        HostStatement__check_time="return",
        check_epoch_signature="return",
    ),
    *_of("attestation/challenge.py", _A + "a08_stale_evidence.py", check_own_nonce_untrusted="return"),
    *_of("attestation/envelope.py", "unit/attestation/test_envelope.py", check_plain_cbor_untrusted="return"),
    *_of(
        "attestation/verified.py",
        "unit/attestation/test_verified.py",
        VerifiedHost__check_fresh=("never: now >= self.expires", "never: now < self.not_before"),
        VerifiedHost____post_init__="never: construction is not _CONSTRUCTION",
    ),
    *_of("attestation/policy.py", "unit/attestation/test_policy.py", Policy__refusals="return: ()"),
    *_of(
        "attestation/vendors/software.py",
        "unit/attestation/test_software.py",
        _verify_endpoint_key=("never: evidence.endpoint_id", "drop: verify_signed_untrusted"),
        _verify_p256="drop: key.verify",
    ),
    *_of("attestation/clocks.py", "unit/attestation/test_clocks.py", ClockGuard__parted="return: False"),
    *EVIDENCE_CHECKS,
    *_of(
        "attestation/blessed.py",
        _A10_LISTS,
        read_list_untrusted=("drop: found.check_expiry", "drop: check_lifetime("),
        verify_list_untrusted=("drop: check_threshold_untrusted(", "drop: check_name("),
        check_threshold_untrusted=("return", "never: signers < trust.threshold", "drop: key.verify_signature"),
        check_name="return",
        check_lifetime="return",
        check_not_older="return",
        BlessedKeeper___outranks=("return: True", "drop: check_not_older("),
    ),
    *_of(
        "attestation/blessed.py",
        "unit/attestation/test_blessed.py",
        check_kinds="return",
        parse_list_untrusted=(
            "never: BLESSED_LIST_MAX",
            "never: BLESSED_VERSION_MAX",
            "never: delegations is not None",
        ),
        content_untrusted="never: BLESSED_BUILDS_MAX",
    ),
    *_of("attestation/builds.py", _A10_LISTS, BlessedList__check_expiry="return", check_platform="return"),
    *_of("attestation/builds.py", _A10_LISTS, unblessed_reasons="return: ()"),
    *_of(
        "attestation/builds.py", "unit/attestation/test_blessed.py", BlessedTrust____post_init__="never: set(self.keys)"
    ),
    *_of(
        "attestation/policy.py",
        _A10_LISTS,
        Policy__refusals="never: self.demands_blessed",
    ),
    *_of("attestation/policy.py", "unit/attestation/test_blessed.py", Policy__require_blessed="never: names_builds"),
    # --- client ---
    *_of(
        "client/verify.py",
        "unit/client/test_verify.py",
        HostVerifier__verified="never: self._policy.refusals",
        HostVerifier__set_policy=("drop: self._judge.set_policy", "drop: self._drop_all(", "drop: host.judge_anew"),
        HostVerifier__offer_keys_untrusted="never: keys.sequence <= host.keys.sequence",
    ),
    *_of(
        "client/watched.py", "unit/client/test_verify.py", read_keys_untrusted="never: part.endpoint_id != endpoint_id"
    ),
    *_of(
        "client/verify.py",
        "unit/client/test_activation.py",
        HostVerifier___challenge=("drop: check_same_hardware(", "never: generation != host.generation"),
    ),
    *_of(
        "client/activate.py",
        "unit/client/test_activation.py",
        Activator__activate="never: self._elapsed() < host.activate_at",
    ),
    *_of(
        "attestation/verifier.py",
        "unit/attestation/test_extension.py",
        check_same_process="return",
        check_same_hardware="return",
        Verifier__extend_untrusted=("never: later is None", "never: made is None"),
    ),
    *_of(
        "client/watch.py",
        "unit/client/test_watch.py",
        AnswerWatch___look=("never: now - self._heard_at", "never: now - self._progress_at"),
    ),
    *_of(
        "client/dial.py",
        "unit/client/test_dial.py",
        Dialer___try_host="never: in sealed_to",
        Dialer___current=("return: host", "never: found is None"),
    ),
    *_of(
        "attestation/plain.py",
        _A + "a10_plain_hosts.py",
        "unit/sealed/test_bare.py",
        permit_plain=(
            "never: rule.demanded",
            "never: not rule.allowed",
            "never: rule.had_key",
            "never: not takes_plain",
        ),
        check_plain="return",
        PlainHost____post_init__="return",
    ),
    *_of("routing/directory.py", _A + "a10_plain_hosts.py", Directory___permit="never: keyed"),
    *_of("sealed/bare.py", "unit/sealed/test_bare.py", PlainClientExchange____init__="drop: check_plain("),
    *_of(
        "node/stores.py",
        "unit/node/test_stores.py",
        KeyMemory__had_key="return: False",
        SeenSuites__may_have_had_key="return: False",
    ),
    *_of("node/keyfiles.py", "unit/node/test_keyfiles.py", check_gives_back="return", check_fits="return"),
    *_of("host/find.py", "unit/host/test_find.py", check_fits="return"),
    *_of("node/plain.py", _A + "a16_roles.py", PlainSide__handlers="drop: check_asks("),
    *_of("api/openai.py", "unit/api/test_server.py", OpenAIHandler___session="return: session"),
    *_of("api/openai.py", "unit/api/test_server.py", _may_say_retry="return: True"),
    *_of("node/host.py", _A + "a16_roles.py", check_asks="return"),
    *_of("node/join.py", "unit/node/test_join.py", check_membership="return", check_own_identity="return"),
    *_of("node/view.py", "unit/node/test_view.py", MeshView__record_changed="drop: self._note_key("),
    # --- host ---
    *_of(
        "host/openings.py",
        "unit/host/test_openings.py",
        OpeningRates__take="return: True",
        Places__take="return: True",
        BodyBudget__take="return: True",
    ),
    *_of(
        "host/serve.py",
        "unit/host/test_serve.py",
        ExchangeService__serve="never: self._rates.take(",
        _Exchange___hold="never: _bodies.take(",
        _Exchange___receive="drop: self._hold(",
    ),
    *_of(
        "host/prove.py",
        "unit/host/test_prove.py",
        Prover___admit_challenge="never: CHALLENGE_BATCH_MAX",
        Prover___admit_activation="return: True",
    ),
    *_of("host/epochs.py", "unit/host/test_epochs.py", EpochKeeper__advance="never: _guard.parted"),
    *_of("host/rebuild.py", _A + "a24_backend_requests.py", "unit/host", rebuild_request_untrusted="never: serves"),
    # --- mesh ---
    *_of("mesh/links.py", *_LINKS, Links___check_welcome="return", Links___dispatch="never: handler is None"),
    *_of("mesh/admission.py", *_LINKS, cut_floods="yield", _parse_shown_untrusted="never: StreamKind.ADMISSION"),
    *_of("mesh/admission.py", *_LINKS, parse_answer_untrusted="return: None"),
    # --- what apps reach ---
    *_of(
        "api/doors.py",
        _A + "a19_local_pages.py",
        "unit/api/test_doors.py",
        require_safe_bind="return: bind",
        Doorkeeper__require_host="return",
        Doorkeeper__require_same_origin="return",
        Doorkeeper__require_key="return",
    ),
    *_of(
        "api/fields.py",
        _A + "a13_http.py",
        "unit/api/test_fields.py",
        require_utf8_untrusted="return",
        require_shallow_untrusted="return",
        _require_question="return",
    ),
    *_of(
        "api/heads.py",
        _A + "a13_http.py",
        "unit/api/test_heads.py",
        check_unfinished_head_untrusted="return",
        _refuse_repeated="return",
        _refuse_codings="return",
    ),
    *_of("api/responses.py", "unit/api/test_responses.py", require_previous="never: kept is None"),
    *_of("api/openai.py", _A + "a13_http.py", _require_final_status="return"),
    *_of(
        "console/app.py",
        _A + "a19_local_pages.py",
        ConsoleHandler__require_token="return",  # noqa: S106 - the name of a check
        ConsoleHandler__check_head="return",
    ),
    # --- this machine's chips, and the keys that they keep ---
    *_of(
        "attesters/tpm/wire.py",
        "unit/attesters/test_tpm_wire.py",
        Reader__take="never: end > len",
        parse_response_untrusted=("never: length !=", "never: code", "never: tag not in"),
    ),
    *_of(
        "attesters/tpm/client.py",
        "unit/attesters/test_tpm_chip.py",
        Tpm___flush_surely="return",
        Tpm___flushing="yield",
        Tpm__flush_leftovers="return",
    ),
    *_of(
        "attesters/tpm/client.py",
        "unit/attesters/test_tpm_wire.py",
        Tpm__pcr_read="never: fresh.keys()",
        Tpm__nv_read="never: len(piece)",
        _nv_size="never: size >",
    ),
    *_of("attesters/tpm/chip.py", "unit/attesters/test_tpm_chip.py", TpmChip__quote="always: attest.endswith"),
    *_of(
        "attesters/guest.py",
        "unit/attesters/test_guest.py",
        GuestReporter___request="never: before.strip",
        GuestReporter___read="never: REPORT_FILE_MAX",
        read_certificates_untrusted="never: 0 < length",
    ),
    *_of("attesters/nvidia.py", "unit/attesters/test_nvidia.py", _content="never: 0 < length", _devices="never: count"),
    *_of("attesters/apple.py", "unit/attesters/test_apple.py", SecureEnclaveKey___key="never: _NOT_FOUND"),
    *_of(
        "node/keyfiles.py",
        _A + "a21_copied_disk.py",
        KeyFiles___sealed="return: None",
        KeyFiles___unseal="never: label !=",
    ),
    *_of(
        "node/keyfiles.py",
        "unit/node/test_keyfiles.py",
        check_gives_back="return",
        KeyFiles___unseal="never: key.public !=",
    ),
]

#: Functions named like checks that are not in the list, and why: `module:function`.
NOT_LISTED: dict[str, str] = {
    **EVIDENCE_NOT_LISTED,
    "api/connection.py:Handler.check_head": "declares what a handler has",
    "api/doors.py:Doorkeeper.check": "calls checks that are listed",
    "api/openai.py:OpenAIHandler.check_head": "calls checks that are listed",
    "node/home.py:Home.require_run_state": "words for a command, and no security",
    "attestation/verifier.py:Verifier.verify_standing_untrusted": "ranks only; its steps are listed",
}
