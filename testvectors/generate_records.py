"""Writes testvectors/records/*.json, one scenario a file (docs/spec/records.md).

A second reading of the specification, as `generate_admission.py`, whose protobuf writer and keys it shares. Run it to
write the files, or with `--check` to compare.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from generate_admission import (
    CLIENT,
    DAY,
    ENDPOINT,
    HOST,
    ISSUER,
    NOW,
    OTHER,
    RELAY,
    STRANGER,
    Key,
    credentials,
    fixed,
    grant_part,
    lax,
    membership_part,
    pb,
    signed,
)

FOLDER = Path(__file__).parent / "records"
SEQUENCE = NOW * 1000
GOOD_CREDENTIALS = credentials()
OTHER_CREDENTIALS = credentials(None, membership_part(endpoint_id=OTHER.public))
LESSER_CREDENTIALS = credentials(grant_part(not_after=NOW + 100))
MODEL = pb((1, "smollm2-135m"), (2, 2048), (3, fixed("model")))


def sha(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def summary_part(**changes: Any) -> bytes:
    """Return the part of a summary."""
    values: dict[str, Any] = {
        "version": 1,
        "endpoint_id": ENDPOINT.public,
        "sequence": SEQUENCE,
        "issued": NOW,
        "expires": NOW + 3600,
        "addresses": ["192.0.2.1:4433", "[2001:db8::1]:4433"],
        "roles": HOST,
        "node_version": "1.0",
        "name": "node",
        "models": [MODEL],
        "capabilities": ["sealed:1", "sealed:2"],
        "keys_sequence": 0,
        "leaving": 0,
        "relay_url": "",
        "credentials_digest": sha(GOOD_CREDENTIALS),
    } | changes
    fields: list[tuple[int, Any]] = []
    for number, value in enumerate(values.values(), start=1):
        # An empty string within a list is written: it is an element.
        fields += [(number, item) for item in value] if isinstance(value, list) else [(number, value)]
    return pb(*fields)


def summary(key: Key = ENDPOINT, label: str = "sealmesh/1 summary", **changes: Any) -> bytes:
    """Return a signed summary."""
    part = summary_part(**changes)
    return signed(part, key.sign(label, part))


def keys_part(**changes: Any) -> bytes:
    """Return the part of a keys part."""
    values: dict[str, Any] = {
        "version": 1,
        "endpoint_id": ENDPOINT.public,
        "sequence": SEQUENCE,
        "issued": NOW,
        "expires": NOW + 900,
        "inference": fixed("inference key"),
        "posture": {"core_dumps": "off"},
        "blob": b"evidence",
        "epochs": [b"current", b"next"],
        "statement": b"statement",
    } | changes
    return pb(
        (1, values["version"]),
        (2, values["endpoint_id"]),
        (3, values["sequence"]),
        (4, values["issued"]),
        (5, values["expires"]),
        (36, values["inference"]),
        *((37, pb((1, control), (2, state))) for control, state in values["posture"].items()),
        (38, values["blob"]),
        *((39, statement) for statement in values["epochs"]),
        (40, values["statement"]),
    )


def keys(key: Key = ENDPOINT, label: str = "sealmesh/1 keys", **changes: Any) -> bytes:
    """Return a signed keys part."""
    part = keys_part(**changes)
    return signed(part, key.sign(label, part))


def parse(kind: str, description: str, data: bytes, failure: str | None = None, **given: Any) -> dict[str, Any]:
    """Return a scenario in which one part is judged by itself."""
    expected: dict[str, Any] = {"failure": failure}
    if failure is None:
        expected["fields"] = given.get("fields", {})
    return {
        "description": description,
        "kind": kind,
        "now": given.get("now", NOW),
        "data": data.hex(),
        "expected": expected,
    }


def offer(data: bytes, outcome: str, *, at: int = NOW, shown: bytes = GOOD_CREDENTIALS, part: str = "summary") -> Any:
    """Return one step of a table scenario: a part is offered."""
    step = {"at": at, "offer": part, "data": data.hex(), "outcome": outcome}
    return step | ({"credentials": shown.hex()} if part == "summary" else {})


def expire(at: int) -> dict[str, Any]:
    """Return one step of a table scenario: time passes, everything that has ended is dropped."""
    return {"at": at, "offer": None}


def table(description: str, steps: list[Any], held: bytes | None, **given: Any) -> dict[str, Any]:
    """Return a scenario of a table: what is offered, what becomes of it, and what is held at the end."""
    held_keys = given.get("keys")
    return {
        "description": description,
        "kind": "table",
        "issuer": ISSUER.public.hex(),
        "endpoint_id": ENDPOINT.public.hex(),
        "steps": steps,
        "expected": {
            "held": None if held is None else held.hex(),
            "held_keys": None if held_keys is None else held_keys.hex(),
            "equivocating": given.get("equivocating", False),
        },
    }


def tree(description: str, records: list[bytes], owners: list[bytes]) -> dict[str, Any]:
    """Return a scenario of the hash tree."""
    items = sorted((owner, sha(record)) for owner, record in zip(owners, records, strict=True))
    buckets = []
    for index in range(256):
        content = b"".join(owner + digest for owner, digest in items if owner[0] == index)
        buckets.append(sha(b"\x00" + content)[:16] if content else bytes(16))
    return {
        "description": description,
        "kind": "tree",
        "issuer": ISSUER.public.hex(),
        "now": NOW,
        "records": [record.hex() for record in records],
        "credentials": [{ENDPOINT.public: GOOD_CREDENTIALS, OTHER.public: OTHER_CREDENTIALS}[o].hex() for o in owners],
        "expected": {"buckets": b"".join(buckets).hex(), "root": sha(b"\x01" + b"".join(buckets)).hex()},
    }


def message(description: str, data: bytes, kind: str | None) -> dict[str, Any]:
    """Return a scenario of one message; `kind` is None where the sender misbehaves."""
    expected = {"failure": None if kind else "misbehaves", "message": kind}
    return {"description": description, "kind": "message", "data": data.hex(), "expected": expected}


def changed(data: bytes, position: int) -> bytes:
    """Return the data with one bit flipped."""
    flipped = bytearray(data)
    flipped[position] ^= 1
    return bytes(flipped)


def parts() -> dict[str, dict[str, Any]]:
    """Return the scenarios of single parts."""
    good, part = summary(), summary_part()
    signature = ENDPOINT.sign("sealmesh/1 summary", part)
    fields = {"name": "node", "sequence": SEQUENCE, "capabilities": ["sealed:1", "sealed:2"], "leaving": False}
    client = {"roles": CLIENT, "expires": NOW + DAY}

    def bad(description: str, **changes: Any) -> dict[str, Any]:
        return parse("summary", description, summary(**changes), "summary")

    def bad_keys(description: str, **changes: Any) -> dict[str, Any]:
        return parse("keys", description, keys(**changes), "keys_part")

    return {
        "summary-good": parse("summary", "Everything in order.", good, fields=fields),
        "summary-unknown-field": parse(
            "summary",
            "A field inside the part that readers do not know.",
            signed(p := part + b"\xf8\x06\x01", ENDPOINT.sign("sealmesh/1 summary", p)),
            fields=fields,
        ),
        "summary-leaving": parse("summary", "A goodbye.", summary(leaving=1), fields=fields | {"leaving": True}),
        "summary-client-day": parse(
            "summary", "A client's may live a day.", summary(**client), fields={"name": "node"}
        ),
        "summary-client-longer": bad("But not a second longer.", **client | {"expires": NOW + DAY + 1}),
        "summary-relay-day": bad("Nor another role's.", **client | {"roles": CLIENT | RELAY}),
        "summary-long-life": bad("3,601 s.", expires=NOW + 3601),
        "summary-no-life": bad("Ends as it begins.", expires=NOW),
        "summary-too-long": bad("Over 1,024 bytes.", models=[pb((1, f"{n:02}" + "m" * 60)) for n in range(16)]),
        "summary-no-sequence": bad("Sequence 0.", sequence=0),
        "summary-huge-sequence": bad("Sequence 2^53 + 1.", sequence=2**53 + 1),
        "summary-no-role": bad("No role.", roles=0),
        "summary-unknown-role": bad("A role of 8.", roles=8),
        "summary-escape": bad("A name with an escape code.", name="\x1b[2J"),
        "summary-c1": bad("A name with U+009B.", name="\x9b2J"),
        "summary-long-name": bad("A name of 129 bytes.", name="n" * 129),
        "summary-host-name": bad("An address by name.", addresses=["example.org:4433"]),
        "summary-nine-addresses": bad("Nine addresses.", addresses=["192.0.2.1:1"] * 9),
        "summary-17-models": bad("17 models.", models=[pb((1, f"{n}")) for n in range(17)]),
        "summary-model-twice": bad("A model twice.", models=[MODEL, MODEL]),
        "summary-model-unnamed": bad("A model without a name.", models=[pb((2, 2048))]),
        "summary-capability": bad("A capability in capitals.", capabilities=["SEALED"]),
        "summary-no-credentials": bad("No digest of credentials.", credentials_digest=b""),
        "summary-cut": parse("summary", "The last byte is missing.", good[:-1], "summary"),
        "summary-trailing": parse("summary", "An unknown field around the part.", good + b"\x18\x01", "summary"),
        "summary-version": parse("summary", "Another version.", summary(version=2), "record_version"),
        "summary-ahead": parse("summary", "Issued 61 s ahead.", good, "record_issued_ahead", now=NOW - 61),
        "summary-ahead-within-skew": parse("summary", "Issued 60 s ahead.", good, now=NOW - 60, fields=fields),
        "summary-last-second": parse("summary", "The last second.", good, now=NOW + 3599, fields=fields),
        "summary-expired": parse("summary", "The second at which it ends.", good, "record_expired", now=NOW + 3600),
        "summary-flipped": parse("summary", "One bit of the signature.", changed(good, -1), "summary_signature"),
        "summary-other-key": parse("summary", "Signed by another key.", summary(STRANGER), "summary_signature"),
        "summary-other-label": parse(
            "summary", "Signed for another purpose.", summary(label="sealmesh/1 keys"), "summary_signature"
        ),
        "summary-lax-scalar": parse(
            "summary", "A scalar that is not reduced.", signed(part, lax(signature)), "summary_signature"
        ),
        "keys-good": parse("keys", "Everything in order.", keys(), fields={"sequence": SEQUENCE}),
        "keys-plain": parse("keys", "Of a node without a key.", keys(inference=b""), fields={"sequence": SEQUENCE}),
        "keys-long-life": bad_keys("901 s.", expires=NOW + 901),
        "keys-short-key": bad_keys("A key of 31 bytes.", inference=bytes(31)),
        "keys-65-controls": bad_keys("65 controls.", posture={f"{n:02}": "on" for n in range(65)}),
        "keys-escape": bad_keys("A state with an escape code.", posture={"core_dumps": "\x1b[2J"}),
        "keys-four-epochs": bad_keys("Four epoch statements.", epochs=[b"e"] * 4),
        "keys-evidence": bad_keys("Evidence over 64 KiB.", blob=bytes(64 * 1024 + 1)),
        "keys-other-key": parse("keys", "Signed by another key.", keys(STRANGER), "keys_signature"),
        "keys-other-label": parse(
            "keys", "A signature for summaries.", keys(label="sealmesh/1 summary"), "keys_signature"
        ),
        "keys-expired": parse("keys", "The second at which it ends.", keys(), "record_expired", now=NOW + 900),
    }


def tables() -> dict[str, dict[str, Any]]:
    """Return the scenarios of tables, trees and messages."""
    first, second = summary(), summary(sequence=SEQUENCE + 1, name="second")
    winner, loser = sorted((summary(name="one"), summary(name="other")), key=sha)
    brief = summary(sequence=SEQUENCE + 1, expires=NOW + 60, leaving=1)
    keys_first, keys_second = keys(), keys(sequence=SEQUENCE + 1)
    floor = summary(keys_sequence=SEQUENCE + 1)
    lesser = summary(roles=HOST | RELAY)
    other = summary(OTHER, endpoint_id=OTHER.public, credentials_digest=sha(OTHER_CREDENTIALS))
    owner = sorted((ENDPOINT.public, OTHER.public))
    long = credentials(grant_part(not_after=NOW + 2 * DAY))
    brief_long = summary(sequence=SEQUENCE + 1, expires=NOW + 60, leaving=1, credentials_digest=sha(long))

    def late(seconds: int, outcome: str) -> Any:
        at = NOW + DAY + seconds
        return offer(summary(issued=at, expires=at + 60, credentials_digest=sha(long)), outcome, at=at, shown=long)

    return {
        "table-newer": table("The higher sequence wins.", [offer(first, "new"), offer(second, "newer")], second),
        "table-older": table("Whatever the order.", [offer(second, "new"), offer(first, "older")], second),
        "table-known": table("The same bytes again.", [offer(first, "new"), offer(first, "known")], first),
        "table-equivocation": table(
            "With one sequence the lower digest wins.",
            [offer(loser, "new"), offer(winner, "equivocating"), offer(loser, "older")],
            winner,
            equivocating=True,
        ),
        "table-equivocation-reversed": table(
            "Whatever the order.", [offer(winner, "new"), offer(loser, "equivocating")], winner, equivocating=True
        ),
        "table-equivocation-stays": table(
            "Signing once more clears nothing.",
            [offer(winner, "new"), offer(loser, "equivocating"), offer(second, "newer")],
            second,
            equivocating=True,
        ),
        "table-forged-twin": table(
            "A forged twin flags nobody.",
            [offer(first, "new"), offer(changed(first, -1), "summary_signature")],
            first,
        ),
        "table-forged-newer": table(
            "A forged newer one raises no memory.",
            [offer(summary(STRANGER, sequence=2**52), "summary_signature"), offer(first, "new")],
            first,
        ),
        "table-goodbye": table(
            "What came before a goodbye stays out, though the goodbye has expired.",
            [offer(brief, "new"), expire(NOW + 1800), offer(first, "older", at=NOW + 1800)],
            None,
        ),
        "table-remembered": table(
            "One second before a day and 120 s have passed, a lower sequence is still older.",
            [offer(brief_long, "new", shown=long), expire(NOW + DAY + 119), late(119, "older")],
            None,
        ),
        "table-forgotten": table(
            "Then nothing from before can be in time, and all is forgotten.",
            [offer(brief_long, "new", shown=long), expire(NOW + DAY + 120), late(120, "new")],
            bytes.fromhex(late(120, "new")["data"]),
        ),
        "table-stranger": table(
            "Of another issuer's making.",
            [offer(first, "grant_signature", shown=credentials(issuer=STRANGER))],
            None,
        ),
        "table-copied-credentials": table(
            "Beside another member's credentials.", [offer(first, "wrong_endpoint", shown=OTHER_CREDENTIALS)], None
        ),
        "table-lesser-credentials": table(
            "Beside valid credentials of the owner that the summary does not name.",
            [offer(first, "summary", shown=LESSER_CREDENTIALS), offer(first, "new")],
            first,
        ),
        "table-role": table("With a role that was not granted.", [offer(lesser, "summary")], None),
        "table-keys": table(
            "Keys parts follow the same rule.",
            [
                offer(keys_first, "ignored", part="keys"),
                offer(first, "new"),
                offer(keys_second, "new", part="keys"),
                offer(keys_first, "older", part="keys"),
            ],
            first,
            keys=keys_second,
        ),
        "table-keys-floor": table(
            "The summary names the least sequence.",
            [offer(floor, "new"), offer(keys_first, "older", part="keys"), offer(keys_second, "new", part="keys")],
            floor,
            keys=keys_second,
        ),
        "tree-empty": tree("No record.", [], []),
        "tree-one": tree("One record.", [first], [ENDPOINT.public]),
        "tree-two": tree("Two records.", [first, other], [ENDPOINT.public, OTHER.public]),
        "message-root": message("Two digests.", pb((1, pb((1, bytes([1] * 32)), (2, bytes([2] * 32))))), "Root"),
        "message-listing": message(
            "Two items in their buckets.",
            pb((3, pb((1, b"\xff" * 32), (2, b"".join(o + SEQUENCE.to_bytes(8, "big") + bytes(32) for o in owner))))),
            "Listing",
        ),
        "message-listing-outside": message(
            "An item outside the listed buckets.",
            pb((3, pb((1, bytes(31) + b"\x80"), (2, b"\x01" * 72)))),
            None,
        ),
        "message-listing-order": message(
            "Items that do not ascend.",
            pb((3, pb((1, b"\xff" * 32), (2, b"".join(o + bytes(40) for o in owner[::-1]))))),
            None,
        ),
        "message-want": message("Two owners.", pb((4, pb((1, b"".join(owner))))), "Want"),
        "message-want-twice": message("One owner twice.", pb((4, pb((1, owner[0] * 2)))), None),
        "message-records": message(
            "A pushed record.", pb((5, pb((1, pb((1, first), (2, GOOD_CREDENTIALS))), (2, 1)))), "Records"
        ),
        "message-65-records": message("65 records.", pb((5, pb(*((1, pb((1, b"x"))) for _ in range(65))))), None),
        "message-nothing": message("No kind.", b"", None),
        "message-unknown": message("A kind that does not exist.", pb((7, b"x")), None),
    }


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    scenarios = parts() | tables()
    wanted = {f"{name}.json": json.dumps(content, indent=2) + "\n" for name, content in scenarios.items()}
    FOLDER.mkdir(exist_ok=True)
    there = {path.name: path.read_text() for path in FOLDER.glob("*.json")}
    if check:
        different = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
        sys.stderr.write("".join(f"differs: {name}\n" for name in different))
        return 1 if different else 0
    for name in there.keys() - wanted.keys():
        (FOLDER / name).unlink()
    for name, content in wanted.items():
        (FOLDER / name).write_text(content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
