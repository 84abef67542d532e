"""The asker's policy: what a host must show before anything is sealed to it (ATTESTATION.md, Policy).

The client's own policy decides, never a peer's claim [ST-62]. A file that cannot be understood in full is refused: a
misspelt key would otherwise leave a demand unmade, and an empty list never means "anything".
"""

from __future__ import annotations

import datetime
import enum
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

from sealmesh.attestation.builds import (
    BlessedList,
    BlessedTrust,
    join_digests,
    judge_build,
    measurement_factor,
    trust_of,
    unblessed_reasons,
)
from sealmesh.attestation.factors import Factor, FactorId, Status, Tier, Verdict
from sealmesh.attestation.statement import BACKENDS, HostStatement
from sealmesh.attestation.vendors.pem import read_chain_untrusted
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.hardening.posture import Control, State, state_of
from sealmesh.limits import NAME_MAX, VERDICT_LIFETIME_S

#: Policy files are written by hand; one beyond this is a mistake.
POLICY_MAX: Final = 256 * 1024
_HEX_KEY: Final = 64
#: The suites by the names that a policy uses.
SUITES: Final = {"x25519": 1, "xwing": 2}
_ChoiceT = TypeVar("_ChoiceT", bound=enum.Enum)


class PinRule(enum.Enum):
    """Whether a pin made by hand meets the minimum tier."""

    ACCEPT = "accept"
    REFUSE = "refuse"


class FirstUse(enum.Enum):
    """What to do with a hardware key that is seen for the first time."""

    REFUSE = "refuse"
    PIN = "pin"


class BackendRule(enum.Enum):
    """How near the model must be to the process that opens the prompt. The host says it of itself."""

    IN_PROCESS = "in-process"
    LOCAL = "local"
    ANY = "any"

    def allows(self, backend: str) -> bool:
        """Whether a host statement's backend is near enough."""
        nearest = {BackendRule.IN_PROCESS: 1, BackendRule.LOCAL: 2, BackendRule.ANY: 3}[self]
        return backend in BACKENDS[:nearest]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyException:
    """One host that is taken at a lower tier for a time."""

    key: bytes
    tier: Tier
    until: float


class Judged(Protocol):
    """What a policy looks at: `sealmesh.attestation.verifier.HostVerdict`."""

    @property
    def endpoint_id(self) -> bytes:
        """The host's endpoint id, 32 bytes."""

    @property
    def statement(self) -> HostStatement:
        """What the host says of itself."""

    @property
    def verdict(self) -> Verdict:
        """Tier and factors."""

    @property
    def confirmed_at(self) -> float:
        """When it last showed that it is what it is, Unix seconds."""

    @property
    def pinned_by_hand(self) -> bool:
        """Whether the attestation key is the one that the asker pinned by hand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the asker demands.

    Attributes:
        minimum: Lowest tier that is sealed to. Even at `none` a host has answered a live challenge: sealing always.
        max_age: Oldest live verdict, in seconds.
        suites: Suite numbers that may be used; None for every known one.
        pins: Whether a pin made by hand meets the minimum.
        on_first_use: Whether a hardware key is pinned when first seen.
        backend: How near the model must be.
        posture: Controls that a host must say are on, of its own word.
        measurements: Digests of self-measured code that were chosen by hand, hex; None where there are none.
        blessed_trust: Whose signed list of builds is believed; None where nobody's is.
        blessed: The list of that trust that is in force; whoever holds one puts it here with `with_blessed`.
        blessed_required: Whether a host must run a blessed build; None demands it where digests were chosen by hand.
        exceptions: Hosts that are taken at a lower tier for a time.
        vendors: The tables of the vendors, checked for their keys, read by the vendors' verifiers.
    """

    minimum: Tier = Tier.NONE
    max_age: float = VERDICT_LIFETIME_S
    suites: frozenset[int] | None = None
    pins: PinRule = PinRule.ACCEPT
    on_first_use: FirstUse = FirstUse.REFUSE
    backend: BackendRule = BackendRule.ANY
    posture: tuple[Control, ...] = ()
    measurements: frozenset[str] | None = None
    blessed_trust: BlessedTrust | None = None
    blessed: BlessedList | None = None
    blessed_required: bool | None = None
    exceptions: tuple[PolicyException, ...] = ()
    vendors: Mapping[str, Mapping[str, object]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        frozen = {name: MappingProxyType(dict(table)) for name, table in self.vendors.items()}
        object.__setattr__(self, "vendors", MappingProxyType(frozen))

    def at_least(self, tier: Tier) -> Policy:
        """Return this policy with a minimum no lower than `tier`: `--require-attested-hosts=TIER`."""
        return replace(self, minimum=max(self.minimum, tier))

    @property
    def demand(self) -> str:
        """What of this a host without a key could never meet, in words; "" where only a seal is asked for [PL-3].

        Whatever is not known to ask for nothing is a demand: a field that is added later too.
        """
        if self.minimum > Tier.NONE:
            return self.minimum.label
        asked = [one.name for one in fields(self) if one.name not in _ASKS_NOTHING]
        names = [name for name in asked if getattr(self, name) != getattr(_NOTHING_ASKED, name)]
        return ", ".join(names)

    @property
    def names_builds(self) -> bool:
        """Whether it says which builds are blessed."""
        return self.measurements is not None or self.blessed_trust is not None

    @property
    def demands_blessed(self) -> bool:
        """Whether a host must run a blessed build."""
        return self.measurements is not None if self.blessed_required is None else self.blessed_required

    def require_blessed(self) -> Policy:
        """Return this policy with blessed builds demanded: `--require-blessed`.

        Raises:
            ConfigError: It names no list and no digests: it would refuse every host.
        """
        if not self.names_builds:
            raise ConfigError(
                "--require-blessed needs somebody to say which builds are blessed: name the keys of a list under "
                "[measurement] in the policy"
            )
        return replace(self, blessed_required=True)

    def with_blessed(self, found: BlessedList | None) -> Policy:
        """Return this policy with a list in force, or without one. Call it on the policy as it was read [BL-12]."""
        if found is None:
            return self
        return replace(self, blessed=found, vendors=join_digests(self.vendors, found))

    def judge_measurement(self, statement: HostStatement, now: float) -> Factor:
        """Say whether the build that a host says it runs is blessed [BL-11]."""
        if self.measurements is not None and statement.measurement.hex() in self.measurements:
            return measurement_factor(Status.PASS, "the host says that it runs a build on the policy's own list")
        if self.blessed_trust is not None:
            return judge_build(statement, self.blessed, required=self.demands_blessed, now=now)
        if self.measurements is not None:
            status = Status.FAIL if self.demands_blessed else Status.ABSENT
            return measurement_factor(status, "unblessed: its code measurement is not on the policy's list")
        return measurement_factor(Status.ABSENT, "the policy names no list of builds")

    def minimum_for(self, endpoint_id: bytes, now: float) -> Tier:
        """Return the lowest tier at which this host is taken now, after exceptions."""
        granted = [one.tier for one in self.exceptions if one.key == endpoint_id and now < one.until]
        return min([self.minimum, *granted])

    def unmet_controls(self, statement: HostStatement) -> tuple[str, ...]:
        """Return which demanded controls a host does not say are on, in our own words; empty where all are."""
        states = {control.id: state_of(statement.posture.get(control.id, "")) for control in self.posture}
        return tuple(
            f"{name} is {'not named' if state is None else state.value}"
            for name, state in states.items()
            if state is not State.ON
        )

    def refusals(self, host: Judged, now: float) -> tuple[str, ...]:
        """Return why this host is not sealed to, for people; empty where it is accepted.

        Args:
            host: A verdict on a host.
            now: Unix seconds.
        """
        reasons = []
        minimum = self.minimum_for(host.endpoint_id, now)
        # A pin stands for a vendor's word that is missing, not for evidence that is there and does not hold.
        by_pin = self.pins is PinRule.ACCEPT and host.pinned_by_hand and host.verdict.tier >= Tier.PINNED
        if host.verdict.tier < minimum and not by_pin:
            reasons.append(f"its tier is {host.verdict.tier.label}, the policy demands {minimum.label}")
        age = now - host.confirmed_at
        if age > self.max_age:
            reasons.append(f"its evidence is {age:.0f} s old, the policy allows {self.max_age:g} s")
        if not self.backend.allows(host.statement.backend):
            reasons.append(f"its backend is {host.statement.backend}, the policy demands {self.backend.value}")
        unmet = self.unmet_controls(host.statement)
        if unmet:
            reasons.append(f"of its hardening, {', '.join(unmet)}; the policy demands it")
        if self.demands_blessed:
            reasons += unblessed_reasons(self.judge_measurement(host.statement, now))
        if any(one.factor is FactorId.PIN and one.status is Status.FAIL for one in host.verdict.factors):
            reasons.append("its attestation key is not the one that was pinned")
        return tuple(reasons)


#: Fields that only say how something is judged that a host without a key does not even have.
_ASKS_NOTHING: Final = frozenset(
    {"max_age", "pins", "on_first_use", "exceptions", "vendors", "blessed_trust", "blessed"}
)
_NOTHING_ASKED: Final = Policy()


def parse_policy_untrusted(data: bytes) -> Policy:
    """Read a policy file [ST-61].

    Raises:
        ConfigError: It is not TOML, has an unknown key, a value of the wrong kind, or an empty list.
    """
    if len(data) > POLICY_MAX:
        raise ConfigError("the policy file is too long")
    try:
        # Deep nesting ends in RecursionError inside tomllib.
        content = tomllib.loads(data.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise ConfigError("the policy file is not valid TOML in UTF-8") from error
    return _Reader(content).policy()


_TOP_KEYS: Final = frozenset(
    {"minimum", "max_age", "suites", "pins", "on_first_use", "backend", "posture", "exception"}
)


def _hex(value: object, where: str) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"policy: {where} is a text of hex digits")
    try:
        digits = bytes.fromhex(value).hex()
    except ValueError:
        raise ConfigError(f"policy: {where} is not hexadecimal") from None
    if not digits:
        # A host that names no measurement would be on a list with "".
        raise ConfigError(f"policy: {where} is empty")
    return digits


def _key(value: object, where: str) -> bytes:
    digits = _hex(value, where)
    if len(digits) != _HEX_KEY:
        raise ConfigError(f"policy: {where} are public keys of 64 hex digits, from `sealmesh bless keygen`")
    return bytes.fromhex(digits)


def _list_name(value: object, where: str) -> str:
    name = _text(value, where)
    if len(name.encode()) > NAME_MAX or not name.isprintable():
        raise ConfigError(f"policy: {where} is a name of at most {NAME_MAX} bytes without control characters")
    return name


def _text(value: object, where: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"policy: {where} is a text that is not empty")
    return value


def _vendor(value: object, where: str) -> str:
    name = _text(value, where)
    if name not in TPM_VENDORS:
        raise ConfigError(f"policy: {where}: {name!r} is none; there are {', '.join(sorted(TPM_VENDORS))}")
    return name


def _root(value: object, where: str) -> str:
    text = _text(value, where)
    try:
        read_chain_untrusted(text.encode())
    except VerificationError as error:
        raise ConfigError(f"policy: {where} is the text of a certificate in PEM, not a path") from error
    return text


def _boolean(value: object, where: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"policy: {where} is true or false")
    return value


def _whole(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"policy: {where} is a whole number, zero or more")
    return value


def _each(item: Callable[[object, str], object]) -> Callable[[object, str], object]:
    def read(value: object, where: str) -> tuple[object, ...]:
        if not isinstance(value, list):
            raise ConfigError(f"policy: {where} is a list")
        if not value:
            raise ConfigError(f'policy: {where} is empty; an empty list never means "anything", leave it out')
        return tuple(item(one, where) for one in value)

    return read


def _named(
    item: Callable[[object, str], object], names: frozenset[str] | None = None
) -> Callable[[object, str], object]:
    def read(value: object, where: str) -> Mapping[str, object]:
        if not isinstance(value, dict) or not value:
            raise ConfigError(f"policy: {where} is a table that is not empty")
        unknown = sorted(set(value) - names) if names is not None else []
        if names is not None and unknown:
            raise ConfigError(f"policy: unknown key {unknown[0]!r} in {where}; it has {', '.join(sorted(names))}")
        return MappingProxyType({name: item(one, f"{where}.{name}") for name, one in value.items()})

    return read


#: Parts of AMD's firmware version, for every generation or for one, as `milan_ucode`: generations count differently.
_TCB_PARTS: Final = ("fmc", "bl", "tee", "snp", "ucode")
_TCB_NAMES: Final = frozenset(
    [*_TCB_PARTS, *(f"{chip}_{part}" for chip in ("milan", "genoa", "turin") for part in _TCB_PARTS)]
)
_TDX_REGISTERS: Final = frozenset({"mrtd", "rtmr0", "rtmr1", "rtmr2", "rtmr3", "mrconfigid"})
#: The vendors whose roots are pinned (`vendors/tpm/certificates.py`, which is above this module).
TPM_VENDORS: Final = frozenset({"google", "infineon", "intel", "stm"})
_TPM_PCRS: Final = frozenset(str(number) for number in range(24))
_NITRO_PCRS: Final = frozenset(str(number) for number in range(16))

#: Table, key, and how its value is read. What a vendor's verifier makes of it is that verifier's own affair.
_TABLES: Final[Mapping[str, Mapping[str, Callable[[object, str], object]]]] = {
    "measurement": {
        "blessed": _each(_hex),
        "list": _list_name,
        "keys": _each(_key),
        "threshold": _whole,
        "required": _boolean,
    },
    "tpm": {
        "vendors": _each(_vendor),
        "extra_roots": _each(_root),
        "require_secure_boot": _boolean,
        "pcrs": _named(_each(_hex), _TPM_PCRS),
    },
    "apple": {"app_ids": _each(_text), "cdhashes": _each(_hex), "mda_max_age": _whole},
    "snp": {
        "measurements": _each(_hex),
        "min_tcb": _named(_whole, _TCB_NAMES),
        "max_vmpl": _whole,
        "milan_blind": _boolean,
    },
    "tdx": {"statuses": _each(_text), "measurements": _named(_each(_hex), _TDX_REGISTERS)},
    "nitro": {"pcrs": _named(_each(_hex), _NITRO_PCRS)},
    "gpu": {"required": _boolean},
}
_EXCEPTION_KEYS: Final = frozenset({"key", "tier", "until"})


class _Reader:
    """Turns parsed TOML into a policy; every key is looked at, or the file is refused."""

    def __init__(self, content: Mapping[str, object]) -> None:
        self._content = content

    def policy(self) -> Policy:
        unknown = sorted(set(self._content) - _TOP_KEYS - set(_TABLES))
        if unknown:
            raise ConfigError(f"policy: unknown key {unknown[0]!r}")
        vendors = {name: self._table(name) for name in _TABLES if name in self._content}
        builds = vendors.pop("measurement", {})
        blessed = builds.get("blessed")
        trust = trust_of(builds)
        required = builds.get("required")
        if required and blessed is None and trust is None:
            raise ConfigError(
                "policy: measurement.required demands builds that nothing names: add list, keys, threshold"
            )
        return Policy(
            minimum=self._tier(self._content.get("minimum", "none"), "minimum"),
            max_age=self._max_age(),
            suites=self._suites(),
            pins=self._choice("pins", PinRule, PinRule.ACCEPT),
            on_first_use=self._choice("on_first_use", FirstUse, FirstUse.REFUSE),
            backend=self._choice("backend", BackendRule, BackendRule.ANY),
            posture=self._posture(),
            measurements=frozenset(str(one) for one in blessed) if isinstance(blessed, tuple) else None,
            blessed_trust=trust,
            blessed_required=required if isinstance(required, bool) else None,
            exceptions=self._exceptions(),
            vendors=vendors,
        )

    def _table(self, name: str) -> dict[str, object]:
        table = self._content[name]
        if not isinstance(table, dict) or not table:
            raise ConfigError(f"policy: [{name}] is a table that is not empty")
        known = _TABLES[name]
        for key in table:
            if key not in known:
                raise ConfigError(f"policy: unknown key {key!r} in [{name}]")
        return {key: known[key](value, f"{name}.{key}") for key, value in table.items()}

    @staticmethod
    def _tier(value: object, where: str) -> Tier:
        try:
            return Tier.from_label(_text(value, where))
        except ValueError as error:
            raise ConfigError(f"policy: {where}: {error}") from None

    def _max_age(self) -> float:
        value = self._content.get("max_age")
        if value is None:
            return VERDICT_LIFETIME_S
        seconds = _whole(value, "max_age")
        if not 1 <= seconds <= VERDICT_LIFETIME_S:
            raise ConfigError(f"policy: max_age is 1 to {VERDICT_LIFETIME_S:g} seconds; no verdict lives longer")
        return float(seconds)

    def _suites(self) -> frozenset[int] | None:
        value = self._content.get("suites")
        if value is None:
            return None
        names = _each(_text)(value, "suites")
        assert isinstance(names, tuple)  # noqa: S101 - `_each` gives nothing else
        unknown = [name for name in names if name not in SUITES]
        if unknown:
            raise ConfigError(f"policy: suites are {', '.join(SUITES)}; {unknown[0]!r} is none")
        return frozenset(SUITES[name] for name in names)

    def _posture(self) -> tuple[Control, ...]:
        value = self._content.get("posture")
        if value is None:
            return ()
        names = _each(_text)(value, "posture")
        assert isinstance(names, tuple)  # noqa: S101 - `_each` gives nothing else
        try:
            return tuple(dict.fromkeys(Control.named(name) for name in names))
        except ValueError as error:
            raise ConfigError(f"policy: posture: {error}") from None

    def _choice(self, key: str, kind: type[_ChoiceT], default: _ChoiceT) -> _ChoiceT:
        value = self._content.get(key, default.value)
        try:
            return kind(value)
        except ValueError:
            words = ", ".join(str(one.value) for one in kind)
            raise ConfigError(f"policy: {key} is one of {words}") from None

    def _exceptions(self) -> tuple[PolicyException, ...]:
        value = self._content.get("exception")
        if value is None:
            return ()
        if not isinstance(value, list) or not value:
            raise ConfigError("policy: exceptions are written as [[exception]]")
        return tuple(self._exception(one) for one in value)

    def _exception(self, value: object) -> PolicyException:
        if not isinstance(value, dict) or set(value) != _EXCEPTION_KEYS:
            raise ConfigError("policy: an [[exception]] has exactly key, tier and until")
        key, until = _hex(value["key"], "exception.key"), value["until"]
        if len(key) != _HEX_KEY:
            raise ConfigError("policy: exception.key is an endpoint id of 64 hex digits")
        if not isinstance(until, datetime.datetime) or until.tzinfo is None:
            raise ConfigError("policy: exception.until is a date and time with its offset, as 2026-12-31T00:00:00Z")
        return PolicyException(
            key=bytes.fromhex(key), tier=self._tier(value["tier"], "exception.tier"), until=until.timestamp()
        )
