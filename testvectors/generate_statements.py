"""Writes testvectors/statements/*.json, one scenario a file (docs/spec/statements.md, docs/spec/challenge.md).

A second reading of the specifications: nothing of sealmesh is imported, only libsodium, a P-256 signer and the standard
library. Everything comes from fixed seeds. Run it to write the files, or with `--check` to compare them.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from nacl.signing import SigningKey

FOLDER = Path(__file__).parent / "statements"
NOW_MS = 1_800_000_000_000
REFERENCE, ENDORSEMENT, EVIDENCE, RESULT = 1, 2, 4, 8
SOFTWARE_TYPE = "application/vnd.sealmesh.software-key"
SCENARIOS: dict[str, dict[str, Any]] = {}


def fixed(name: str, length: int) -> bytes:
    """Return the bytes that a vector uses for something random."""
    return hashlib.shake_256(b"sealmesh test vector: " + name.encode()).digest(length)


def sha(data: bytes) -> bytes:
    """SHA-256."""
    return hashlib.sha256(data).digest()


def varint(value: int) -> bytes:
    """Encode a number as Protocol Buffers do."""
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def proto(number: int, value: int | bytes | str) -> bytes:
    """Encode one field; zero and empty are left out, as proto3 does."""
    if not value:
        return b""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def cbor_head(major: int, value: int) -> bytes:
    """Encode the shortest head of a CBOR item."""
    if value < 24:
        return bytes([major << 5 | value])
    for detail, width in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if value < 1 << 8 * width:
            return bytes([major << 5 | detail]) + value.to_bytes(width, "big")
    raise ValueError(value)


def cbor_text(text: str) -> bytes:
    """Encode a text."""
    return cbor_head(3, len(text.encode())) + text.encode()


def cbor_record(kind: str, content: bytes, role: int) -> bytes:
    """Encode one record of an envelope."""
    return cbor_head(4, 3) + cbor_text(kind) + cbor_head(2, len(content)) + content + cbor_head(0, role)


def envelope(**records: tuple[str, bytes, int]) -> bytes:
    """Encode records in deterministic order: that of their encoded labels."""
    pairs = sorted((cbor_text(label.replace("_", "-")), cbor_record(*record)) for label, record in records.items())
    return cbor_head(5, len(pairs)) + b"".join(label + record for label, record in pairs)


@dataclass
class Host:
    """The keys of one host."""

    name: str = "host"
    endpoint: SigningKey = field(init=False)
    statement: SigningKey = field(init=False)

    def __post_init__(self) -> None:
        self.endpoint = SigningKey(fixed(f"{self.name} endpoint key", 32))
        self.statement = SigningKey(fixed(f"{self.name} statement key", 32))

    @property
    def id(self) -> bytes:
        """Endpoint id."""
        return bytes(self.endpoint.verify_key)

    def host_statement(self, root: bytes = b"", **changes: Any) -> bytes:
        """Encode a host statement."""
        values = {
            "version": 1,
            "endpoint_id": self.id,
            "statement_key": bytes(self.statement.verify_key),
            "measurement": fixed("measurement", 32),
            "backend": "in-process",
            "issued": NOW_MS,
            "expires": NOW_MS + 3_600_000,
            "root": root,
            **changes,
        }
        posture = [("core_dumps", "off: RLIMIT_CORE is 0"), ("dumpable", "off: PR_SET_DUMPABLE is 0")]
        return (
            proto(1, values["version"])
            + proto(2, values["endpoint_id"])
            + proto(3, values["statement_key"])
            + proto(4, values["measurement"])
            + b"".join(proto(5, proto(1, name) + proto(2, state)) for name, state in posture)
            + proto(6, values["backend"])
            + proto(7, "an accelerator")
            + proto(8, fixed("model", 32))
            + proto(9, values["issued"])
            + proto(10, values["expires"])
            + proto(11, values["root"])
        )

    def epoch_statement(self, **changes: Any) -> bytes:
        """Encode an epoch statement."""
        values = {
            "version": 1,
            "endpoint_id": self.id,
            "epoch": 7,
            "not_before": NOW_MS - 1000,
            "not_after": NOW_MS + 299_000,
            "keys": ((1, fixed("suite 1 key", 32)), (2, fixed("suite 2 key", 1216))),
            **changes,
        }
        return (
            proto(1, values["version"])
            + proto(2, values["endpoint_id"])
            + proto(3, values["epoch"])
            + proto(4, values["not_before"])
            + proto(5, values["not_after"])
            + b"".join(proto(6, proto(1, suite) + proto(2, key)) for suite, key in values["keys"])
            + proto(7, sha(self.host_statement()))
        )

    def software_key(self, host_statement: bytes, key: SigningKey | None = None) -> tuple[str, bytes, int]:
        """Sign a binding with the endpoint's key, or another Ed25519 key."""
        signer = key or self.endpoint
        signature = signer.sign(b"sealmesh/1 evidence\x00" + binding(host_statement)).signature
        content = proto(1, 1) + proto(2, bytes(signer.verify_key)) + proto(3, signature)
        return SOFTWARE_TYPE, content, EVIDENCE


def binding(host_statement: bytes) -> bytes:
    """What evidence signs."""
    return sha(b"sealmesh/1 evidence\x00" + host_statement)


def p256_key(host_statement: bytes) -> tuple[str, bytes, int]:
    """Sign a binding with a P-256 key that no vendor speaks for."""
    key = ec.derive_private_key(int.from_bytes(fixed("p256 key", 31), "big"), ec.SECP256R1())
    point = key.public_key().public_numbers()
    public = b"\x04" + point.x.to_bytes(32, "big") + point.y.to_bytes(32, "big")
    message = b"sealmesh/1 evidence\x00" + binding(host_statement)
    signature = key.sign(message, ec.ECDSA(SHA256(), deterministic_signing=True))
    return SOFTWARE_TYPE, proto(1, 2) + proto(2, public) + proto(3, signature), EVIDENCE


HOST, OTHER = Host(), Host("other host")
VERIFIER_ID = bytes(SigningKey(fixed("verifier endpoint key", 32)).verify_key)
NONCE = fixed("nonce", 32)


def leaf(nonce: bytes = NONCE, verifier_id: bytes = VERIFIER_ID) -> bytes:
    """The leaf of a challenge."""
    return sha(b"\x00" + nonce + verifier_id)


def tree(leaves: list[bytes], index: int) -> tuple[bytes, bytes]:
    """Return root and path of a leaf."""
    path = b""
    while len(leaves) > 1:
        if index ^ 1 < len(leaves):
            path += bytes([index & 1 ^ 1]) + leaves[index ^ 1]
        leaves = [
            sha(b"\x01" + leaves[one] + leaves[one + 1]) if one + 1 < len(leaves) else leaves[one]
            for one in range(0, len(leaves), 2)
        ]
        index //= 2
    return leaves[0], path


def live(name: str, description: str, rule: str, *, failure: str | None = None, **changes: Any) -> None:
    """Add a scenario: one live answer, judged at `now_ms`."""
    root, path = leaf(), b""
    host_statement = changes.pop("host_statement", None)
    if host_statement is None:
        host_statement = HOST.host_statement(changes.pop("root", root), **changes.pop("statement", {}))
    epoch = changes.pop("epoch", None) or HOST.epoch_statement()
    signer = changes.pop("epoch_signer", HOST.statement)
    label = changes.pop("epoch_label", b"sealmesh/1 epoch\x00")
    values = {
        "endpoint_id": HOST.id,
        "verifier_id": VERIFIER_ID,
        "nonce": NONCE,
        "host_statement": host_statement,
        "envelope": envelope(software_key=HOST.software_key(host_statement)),
        "path": path,
        "epoch_statement": epoch,
        "epoch_signature": signer.sign(label + epoch).signature,
        **changes,
    }
    now_ms = values.pop("now_ms", NOW_MS)
    SCENARIOS[name] = {
        "description": description,
        "rules": rule.split(),
        "kind": "live",
        "now_ms": now_ms,
        **{key: value.hex() for key, value in values.items()},
        "derived": {
            "leaf": leaf(values["nonce"], values["verifier_id"]).hex(),
            "binding": binding(values["host_statement"]).hex(),
            "epoch_digest": sha(values["epoch_statement"]).hex(),
            "evidence_digest": sha(values["envelope"]).hex(),
        },
        "expected": {"failure": failure, "tier": None if failure else "self-asserted"},
    }


def add_good() -> None:
    """Answers that hold."""
    live("honest", "One verifier waits; the root is its leaf.", "ST-7 ST-14 CH-5 CH-6")
    for count, index in ((2, 0), (2, 1), (3, 2), (5, 4), (1024, 777)):
        leaves = [leaf(fixed(f"nonce {one}", 32)) for one in range(count)]
        leaves[index] = leaf()
        root, path = tree(leaves, index)
        live(f"batch-{count}-{index}", f"Leaf {index} of {count}.", "CH-6 CH-7", root=root, path=path)
    statement = HOST.host_statement(leaf())
    live("p256", "A P-256 key that no vendor speaks for.", "ST-42", envelope=envelope(key=p256_key(statement)))
    boast = ("application/json", b'{"tier":"confidential"}', RESULT)
    quote = ("application/x-unknown-quote", fixed("quote", 64), EVIDENCE)
    live(
        "boasting",
        "A result that the host wrote itself and evidence of an unknown type count for nothing.",
        "ST-33 ST-50",
        envelope=envelope(software_key=HOST.software_key(statement), result=boast, tpm=quote),
    )
    live("from-the-future-a-little", "Issued 60 s ahead.", "ST-9", now_ms=NOW_MS - 60_000)
    future = HOST.epoch_statement(keys=((1, fixed("suite 1 key", 32)), (9, fixed("suite 9 key", 100))))
    live("unknown-suite", "A suite that nobody knows yet is passed over.", "ST-13", epoch=future)


def add_bad_statements() -> None:
    """Host statements that do not hold."""

    def bad(name: str, description: str, rule: str, failure: str = "host_statement", **statement: Any) -> None:
        live(name, description, rule, failure=failure, statement=statement)

    bad("statement-version", "Version 2.", "ST-3", version=2)
    bad("statement-short-key", "A statement key of 31 bytes.", "ST-4", statement_key=bytes(31))
    bad("statement-measurement", "A measurement of 20 bytes.", "ST-4", measurement=bytes(20))
    bad("statement-backend", "A backend of no known kind.", "ST-5", backend="cloud")
    bad("statement-long", "It lives an hour and a millisecond.", "ST-8", expires=NOW_MS + 3_600_001)
    bad("statement-other-endpoint", "Another endpoint's.", "ST-53", failure="endpoint_id", endpoint_id=OTHER.id)
    live("statement-expired", "Judged when it ends.", "ST-9", failure="freshness", now_ms=NOW_MS + 3_600_000)
    live("statement-ahead", "Issued 60.001 s ahead.", "ST-9", failure="freshness", now_ms=NOW_MS - 60_001)
    big = HOST.host_statement(leaf()) + proto(99, bytes(8192))
    live("statement-too-long", "Over 8,192 bytes.", "ST-2", failure="host_statement", host_statement=big)


def add_bad_nonces() -> None:
    """Answers to something else."""

    def bad(name: str, description: str, **changes: Any) -> None:
        live(name, description, "CH-5 CH-7", failure="own_nonce", **changes)

    bad("standing", "A standing statement, without a root.", root=b"")
    bad("other-nonce", "Another nonce of the same verifier.", root=leaf(fixed("nonce 1", 32)))
    bad("other-verifier", "The same nonce, sent by another endpoint.", root=leaf(NONCE, OTHER.id))
    root, path = tree([leaf(), leaf(fixed("nonce 1", 32))], 0)
    bad("wrong-side", "The sibling on the wrong side.", root=root, path=b"\x00" + path[1:])
    bad("side-2", "No such side.", root=root, path=b"\x02" + path[1:])
    bad("cut-path", "A path that is cut.", root=root, path=path[:-1])
    bad("deep-path", "Eleven steps.", root=root, path=path * 11)


def add_bad_epochs() -> None:
    """Inference keys that nobody vouched for."""

    def bad(name: str, description: str, rule: str, **changes: Any) -> None:
        live(name, description, rule, failure="epoch_statement", **changes)

    swapped = HOST.epoch_statement(keys=((1, fixed("liar's key", 32)),))
    honest = HOST.statement.sign(b"sealmesh/1 epoch\x00" + HOST.epoch_statement()).signature
    bad("swapped-keys", "Other keys under the honest signature.", "ST-14", epoch=swapped, epoch_signature=honest)
    bad("other-signer", "Signed by another statement key.", "ST-14", epoch_signer=OTHER.statement)
    bad("endpoint-signer", "Signed by the endpoint key.", "ST-14", epoch_signer=HOST.endpoint)
    bad("other-label", "Signed as a receipt.", "ST-14", epoch_label=b"sealmesh/1 receipt\x00")
    bad("lent-epoch", "Another endpoint's.", "ST-15", epoch=HOST.epoch_statement(endpoint_id=OTHER.id))
    bad("epoch-version", "Version 2.", "ST-11", epoch=HOST.epoch_statement(version=2))
    long = HOST.epoch_statement(not_before=NOW_MS, not_after=NOW_MS + 300_001)
    bad("epoch-long", "300.001 s.", "ST-12", epoch=long)
    bad("epoch-no-keys", "No keys.", "ST-13", epoch=HOST.epoch_statement(keys=()))
    twice = HOST.epoch_statement(keys=((1, bytes(32)), (1, fixed("suite 1 key", 32))))
    bad("epoch-suite-twice", "One suite twice.", "ST-13", epoch=twice)


def add_bad_evidence() -> None:
    """Evidence that does not vouch for the statement."""

    def bad(name: str, description: str, rule: str, data: bytes) -> None:
        live(name, description, rule, failure="binding", envelope=data)

    statement = HOST.host_statement(leaf())
    good = HOST.software_key(statement)
    other = HOST.host_statement(leaf(fixed("nonce 1", 32)))
    bad("old-evidence", "Evidence of another statement.", "ST-7", envelope(software_key=HOST.software_key(other)))
    lent = HOST.software_key(statement, OTHER.endpoint)
    bad("lent-key", "Another endpoint's key.", "ST-41", envelope(software_key=lent))
    as_result = envelope(software_key=(good[0], good[1], RESULT))
    bad("evidence-as-result", "The right record in the wrong role.", "ST-33", as_result)
    unknown = envelope(software_key=("application/x-unknown", good[1], EVIDENCE))
    bad("unknown-type", "Nobody judges that type.", "ST-50", unknown)
    bad("no-records", "An empty map.", "ST-31", b"\xa0")
    whole = envelope(software_key=good)
    bad("tagged", "A CBOR tag before the map.", "ST-32", b"\xd9\xd9\xf7" + whole)
    bad("indefinite", "A map without a length.", "ST-32", b"\xbf" + whole[1:] + b"\xff")
    bad("label-twice", "One label twice.", "ST-32", b"\xa2" + whole[1:] * 2)
    bad("bytes-after", "A byte after the end.", "ST-32", whole + b"\x00")
    bad("cut-envelope", "Cut.", "ST-32", whole[:-1])
    bad("two-roles", "Evidence and result at once.", "ST-30", envelope(software_key=(good[0], good[1], 12)))
    bad("envelope-too-long", "Over 65,536 bytes.", "ST-31", envelope(a=good, b=("x", bytes(65_536), ENDORSEMENT)))


def add_proof() -> None:
    """A saved proof."""
    root, path = tree([leaf(fixed("nonce 0", 32)), leaf(), leaf(fixed("nonce 2", 32))], 1)
    statement = HOST.host_statement(root)
    epoch = HOST.epoch_statement()
    signed = proto(1, epoch) + proto(2, HOST.statement.sign(b"sealmesh/1 epoch\x00" + epoch).signature)
    challenge = HOST.id + VERIFIER_ID + NONCE + NOW_MS.to_bytes(8, "big") + path
    prefix = "application/vnd.sealmesh."
    file = envelope(
        host_statement=(prefix + "host-statement", statement, REFERENCE),
        evidence=(prefix + "envelope+cbor", envelope(software_key=HOST.software_key(statement)), EVIDENCE),
        epoch_statement=(prefix + "epoch-statement", signed, REFERENCE),
        challenge=(prefix + "challenge", challenge, REFERENCE),
    )
    SCENARIOS["saved-proof"] = {
        "description": "A verdict as a file.",
        "rules": ["ST-70"],
        "kind": "proof",
        "file": file.hex(),
        "expected": {"failure": None, "tier": "self-asserted", "endpoint_id": HOST.id.hex(), "now_ms": NOW_MS},
    }


def add_messages() -> None:
    """Requests and answers as they are on the stream, after the kind byte."""

    def message(name: str, description: str, rule: str, side: str, content: bytes, **expected: Any) -> None:
        SCENARIOS[name] = {
            "description": description,
            "rules": [rule],
            "kind": side,
            "message": content.hex(),
            "expected": {"failure": None, **expected},
        }

    message("ask-keys", "Whose keys.", "CH-2", "request", proto(1, HOST.id), get_keys=HOST.id.hex())
    message("ask-challenge", "A challenge.", "CH-2", "request", proto(2, NONCE), challenge=NONCE.hex())
    message("ask-nothing", "No kind.", "CH-2", "request", b"", failure="refused")
    message("ask-short", "A nonce of 31 bytes.", "CH-2", "request", proto(2, NONCE[:31]), failure="refused")
    message("ask-long", "1,025 bytes.", "CH-2", "request", proto(2, NONCE) + proto(9, bytes(988)), failure="refused")
    blob, seed = fixed("identity", 68), fixed("seed", 256)
    credential = proto(1, blob) + proto(2, seed)
    message("ask-activate", "A credential.", "CH-2", "request", proto(3, credential), activate=[blob.hex(), seed.hex()])
    message("ask-activate-empty", "No seed.", "CH-2", "request", proto(3, proto(1, blob)), failure="refused")
    long_blob = proto(1, bytes(129)) + proto(2, seed)
    message("ask-activate-blob", "An identity of 129 bytes.", "CH-2", "request", proto(3, long_blob), failure="refused")
    long_seed = proto(1, blob) + proto(2, bytes(513))
    message("ask-activate-seed", "A seed of 513 bytes.", "CH-2", "request", proto(3, long_seed), failure="refused")
    message("answer-activated", "A secret.", "CH-3", "answer", proto(4, NONCE), activated=NONCE.hex())
    message("answer-activated-long", "65 bytes.", "CH-3", "answer", proto(4, bytes(65)), failure="refused")
    message("answer-not-activated", "The chip refuses.", "CH-10", "answer", proto(3, 4), refused=4)
    message("answer-keys", "A keys part.", "CH-3", "answer", proto(1, b"keys"), keys=b"keys".hex())
    message("answer-busy", "Busy.", "CH-10", "answer", proto(3, 1), refused=1)
    parts = proto(1, b"statement") + proto(2, b"envelope") + proto(4, b"keys")
    message("answer-proof", "A proof without a path.", "CH-3", "answer", proto(2, parts), path="")
    cut = proto(1, b"statement") + proto(2, b"envelope")
    message("answer-no-keys", "A proof without keys.", "CH-3", "answer", proto(2, cut), failure="refused")
    deep = parts + proto(3, bytes(331))
    message("answer-deep", "A path of 331 bytes.", "CH-3", "answer", proto(2, deep), failure="refused")


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    for add in (
        add_good,
        add_bad_statements,
        add_bad_nonces,
        add_bad_epochs,
        add_bad_evidence,
        add_proof,
        add_messages,
    ):
        add()
    FOLDER.mkdir(exist_ok=True)
    stale = {path.stem for path in FOLDER.glob("*.json")} - set(SCENARIOS)
    for name, content in SCENARIOS.items():
        path, text = FOLDER / f"{name}.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n"
        if check and (not path.exists() or path.read_text() != text):
            stale.add(name)
        if not check:
            path.write_text(text)
    if stale:
        print("not as generated: " + ", ".join(sorted(stale)), file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
