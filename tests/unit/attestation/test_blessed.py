"""Lists of builds: their form, the newest one, and what they add to a policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from kit.attested import NOW
from kit.builds import DAY, NAME, build, draft, measurement, public, sign, signed, trust
from sealmesh.attestation.blessed import BlessedKeeper, read_list_untrusted
from sealmesh.attestation.blessing import (
    add_build,
    encode_draft,
    list_digest,
    next_draft,
    read_draft_untrusted,
    remove_builds,
    sign_list,
)
from sealmesh.attestation.builds import BlessedTrust
from sealmesh.attestation.policy import Policy, parse_policy_untrusted
from sealmesh.errors import ConfigError, VerificationError
from sealmesh.limits import BLESSED_LIST_MAX

CDHASH, LAUNCH = "ab" * 20, "cd" * 48


def test_a_list_says_what_was_put_in() -> None:
    mac = build("app", platform="darwin-arm64-cp312", cdhashes=[CDHASH])
    guest = build("image", launch_digests=[LAUNCH])
    found = read_list_untrusted(signed(mac, guest, now=NOW, version=7), trust(), NOW)
    assert (found.name, found.version, found.expires) == (NAME, 7, NOW + 30 * DAY)
    assert dict(found.builds) == {mac.label: mac, guest.label: guest}
    assert len(found.digest) == 32


def test_a_list_is_small() -> None:
    assert len(signed(now=NOW)) < 900
    many = [build(f"{number:064d}") for number in range(256)]
    assert len(signed(*many, now=NOW, by=["ada", "ben", "cleo"])) <= BLESSED_LIST_MAX


def changed(**fields: Any) -> bytes:
    """A list with other fields in its signed part; its form is looked at, not who signed it."""
    data = json.loads(draft(now=NOW))
    data["signed"] |= fields
    return json.dumps(data).encode()


def changed_build(**fields: Any) -> bytes:
    data = json.loads(draft(now=NOW))
    (target,) = data["signed"]["targets"].values()
    target |= fields
    return json.dumps(data).encode()


MALFORMED = {
    "no bytes": lambda: b"",
    "no JSON": lambda: b"{",
    "another JSON": lambda: b"[]",
    "too long": lambda: draft(now=NOW) + b" " * BLESSED_LIST_MAX,
    "a version of text": lambda: changed(version="1"),
    "a version of truth": lambda: changed(version=True),
    "a fraction of a version": lambda: changed(version=1.5),
    "no version": lambda: changed(version=0),
    "a huge version": lambda: changed(version=(1 << 53) + 1),
    "delegations": lambda: changed(delegations={"keys": {}, "roles": []}),
    "a fraction beside it": lambda: changed(extra=0.5),
    "too many builds": lambda: draft(*(build(f"b{number}") for number in range(257)), now=NOW),
    "a build without a platform": lambda: changed(targets={"x": {"length": 1, "hashes": {"sha256": "ab" * 32}}}),
    "two hashes": lambda: changed_build(hashes={"sha256": "ab" * 32, "md5": "ab"}),
    "a hash that is none": lambda: changed_build(hashes={"sha256": "zz" * 32}),
    "a hash in capitals": lambda: changed_build(hashes={"sha256": "AB" * 32}),
    "a short hash": lambda: changed_build(hashes={"sha256": "ab"}),
    "a hash of another kind": lambda: changed_build(hashes={"sha512": "ab" * 32}),
    "no version of a build": lambda: changed_build(custom={}),
    "a build's version with spaces": lambda: changed_build(custom={"version": "1 2"}),
    "custom that is none": lambda: changed_build(custom=[]),
    "a code directory hash for Linux": lambda: changed_build(custom={"version": "1", "cdhashes": [CDHASH]}),
    "launch digests that are no list": lambda: changed_build(custom={"version": "1", "launch_digests": LAUNCH}),
    "a launch digest of another length": lambda: changed_build(custom={"version": "1", "launch_digests": [CDHASH]}),
    "too many launch digests": lambda: changed_build(custom={"version": "1", "launch_digests": [LAUNCH] * 33}),
}


@pytest.mark.parametrize("make", MALFORMED.values(), ids=MALFORMED)
def test_what_is_no_list_is_refused(make: Callable[[], bytes]) -> None:
    data = make()
    with pytest.raises(VerificationError) as caught:
        read_draft_untrusted(data)
    assert caught.value.factor == "blessed_list"


def test_fields_of_later_versions_are_passed_over() -> None:
    data = changed_build(custom={"version": "1", "more": {"a": [1, "b"]}}, later="text")
    assert read_list_untrusted(sign(data, "ada", "ben"), trust(), NOW).version == 1


@pytest.mark.parametrize(
    ("keys", "threshold", "words"),
    [((), 1, "1 to 16 keys"), ((b"short",), 1, "64 hex"), ((bytes(32),), 0, "1 to 1"), ((bytes(32),), 2, "1 to 1")],
)
def test_a_trust_that_anything_or_nothing_meets(keys: tuple[bytes, ...], threshold: int, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        BlessedTrust(name="x", keys=keys, threshold=threshold)


def test_trusts_are_told_apart() -> None:
    same = trust("cleo", "ben", "ada")
    others = [trust(threshold=3), trust("ada", "ben"), trust(name="other"), trust("ada", "ben", "eve")]
    assert same.id == trust().id
    assert len({one.id for one in [trust(), *others]}) == 5


# --- the newest one -----------------------------------------------------------------------------------------------


def test_the_newest_list_wins_in_any_order() -> None:
    lists = [signed(build(f"b{version}"), now=NOW, version=version) for version in (1, 2, 3)]
    for order in ((0, 1, 2), (2, 1, 0), (1, 2, 0)):
        keeper = BlessedKeeper(trust())
        for index in order:
            try:
                keeper.offer_untrusted(lists[index], NOW)
            except VerificationError:
                continue
        assert keeper.data == lists[2]


def test_of_twins_every_node_takes_the_same() -> None:
    twins = [signed(build(name), now=NOW) for name in ("one", "two")]
    kept = set()
    for order in (twins, twins[::-1]):
        keeper = BlessedKeeper(trust())
        for data in order:
            keeper.offer_untrusted(data, NOW)
        kept.add(keeper.data)
    assert len(kept) == 1


def test_the_same_list_in_other_words_is_no_news() -> None:
    data = signed(now=NOW)
    keeper = BlessedKeeper(trust())
    assert keeper.offer_untrusted(data, NOW)
    assert not keeper.offer_untrusted(data, NOW)
    assert not keeper.offer_untrusted(json.dumps(json.loads(data), indent=3).encode(), NOW)
    assert not keeper.offer_untrusted(sign(data, "cleo"), NOW)


def test_what_is_held_tells_who_lacks_it() -> None:
    keeper, empty = BlessedKeeper(trust()), BlessedKeeper(trust())
    assert (len(empty.held), empty.in_force(NOW), empty.data) == (40, None, b"")
    assert not empty.lacks(empty.held)
    keeper.offer_untrusted(signed(now=NOW), NOW)
    assert keeper.lacks(empty.held)
    assert not keeper.lacks(keeper.held)
    assert not keeper.lacks(BlessedKeeper(trust(threshold=3)).held)
    assert not keeper.lacks(b"")


def test_restoring_another_trusts_list_fails() -> None:
    with pytest.raises(VerificationError):
        BlessedKeeper(trust(threshold=3)).restore_untrusted(signed(now=NOW))


# --- making them --------------------------------------------------------------------------------------------------


def test_a_signed_list_is_followed_by_a_higher_version() -> None:
    first = next_draft(None, name=NAME, now=NOW)
    data = encode_draft(add_build(first, build()))
    again = next_draft(read_draft_untrusted(data), name="", now=NOW + DAY)
    assert (again.version, again.expires, len(again.builds)) == (1, NOW + 31 * DAY, 1)
    after = next_draft(read_draft_untrusted(sign(data, "ada")), name=NAME, now=NOW)
    assert after.version == 2
    assert remove_builds(after, [build().label]).builds == {}


def test_signing_does_not_change_what_is_signed() -> None:
    data = draft(now=NOW)
    before, none = read_draft_untrusted(data)
    after, two = read_draft_untrusted(sign(data, "ada", "ben"))
    assert (before, none, two) == (after, 0, 2)
    assert list_digest(before) == before.digest.hex()


def test_what_cannot_be_made() -> None:
    first = next_draft(None, name=NAME, now=NOW)
    with pytest.raises(ConfigError, match="needs a name"):
        next_draft(None, name="", now=NOW)
    with pytest.raises(ConfigError, match="another name"):
        next_draft((first, 0), name="other", now=NOW)
    for days in (0, 31, -1):
        with pytest.raises(ConfigError, match="at most 30 days"):
            next_draft(None, name=NAME, now=NOW, days=days)
    with pytest.raises(ConfigError, match="names no build"):
        add_build(first, build("two words"))
    with pytest.raises(ConfigError, match="no macOS"):
        add_build(first, build(cdhashes=[CDHASH]))
    with pytest.raises(ConfigError, match="no Linux"):
        add_build(first, build(platform="darwin-arm64-cp312", launch_digests=[LAUNCH]))
    with pytest.raises(ConfigError, match="not on the list"):
        remove_builds(first, ["x"])
    with pytest.raises(VerificationError):
        sign_list(b"{}", bytes(32))


# --- in a policy --------------------------------------------------------------------------------------------------

TRUST = f'[measurement]\nlist = "{NAME}"\nkeys = ["{public("ada").hex()}", "{public("ben").hex()}"]\nthreshold = 2\n'


def test_a_policy_names_whose_list_counts() -> None:
    policy = parse_policy_untrusted(TRUST.encode())
    assert policy.blessed_trust == trust("ada", "ben")
    assert not policy.demands_blessed
    assert policy.require_blessed().demands_blessed
    assert parse_policy_untrusted((TRUST + "required = true").encode()).demands_blessed
    assert not parse_policy_untrusted(
        f'[measurement]\nblessed = ["{"ab" * 32}"]\nrequired = false'.encode()
    ).demands_blessed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[measurement]\nlist = "x"', "all three"),
        (TRUST.replace("threshold = 2", "threshold = 3"), "threshold"),
        (TRUST.replace(public("ben").hex(), public("ada").hex()), "named twice"),
        (TRUST.replace(public("ben").hex(), "abcd"), "64 hex digits"),
        (TRUST.replace(NAME, "a\\u001bb"), "control characters"),
        ("[measurement]\nrequired = true", "nothing names"),
    ],
)
def test_a_policy_that_demands_what_nobody_can_tell(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_policy_untrusted(text.encode())


def test_nothing_can_be_demanded_of_no_list() -> None:
    with pytest.raises(ConfigError, match="name the keys of a list"):
        Policy().require_blessed()


def test_a_list_adds_to_what_hardware_may_show() -> None:
    mac = build("app", platform="darwin-arm64-cp312", cdhashes=[CDHASH])
    found = read_list_untrusted(signed(mac, build(launch_digests=[LAUNCH]), now=NOW), trust(), NOW)
    base = Policy(vendors={"snp": {"measurements": ("ee" * 48,), "max_vmpl": 1}})
    joined = base.with_blessed(found)
    assert joined.vendors["apple"] == {"cdhashes": (CDHASH,)}
    assert joined.vendors["snp"] == {"measurements": (LAUNCH, "ee" * 48), "max_vmpl": 1}
    assert base.with_blessed(None) is base
    plain = read_list_untrusted(signed(now=NOW), trust(), NOW)
    assert base.with_blessed(plain).vendors == base.vendors


def test_a_build_is_blessed_by_hand_or_by_a_list() -> None:
    from kit.attested import ProvenHost

    host = ProvenHost()
    by_list = host.statement(measurement=measurement(), platform=build().platform)
    by_hand = host.statement(measurement=b"\x07" * 32, platform="another")
    found = read_list_untrusted(signed(now=NOW), trust(), NOW)
    policy = Policy(blessed_trust=trust(), measurements=frozenset({"07" * 32})).with_blessed(found)
    assert policy.judge_measurement(by_list, NOW).reason.startswith("blessed: ")
    assert policy.judge_measurement(by_hand, NOW).status.value == "pass"
    assert policy.judge_measurement(host.statement(), NOW).status.value == "fail"
    lenient = Policy(blessed_trust=trust())
    assert lenient.judge_measurement(by_list, NOW).status.value == "absent"
