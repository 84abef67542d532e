"""Evidence envelopes: strict CBOR, bounded, and nothing in them believed."""

from __future__ import annotations

import datetime
import re
from fractions import Fraction

import cbor2
import pytest

from sealmesh.attestation.envelope import Envelope, Record, Role, check_plain_cbor_untrusted, evidence_digest
from sealmesh.errors import LocalProtocolError, VerificationError
from sealmesh.limits import ENVELOPE_RECORDS_MAX, EVIDENCE_MAX

RECORD = Record(type="application/x", data=b"data", role=Role.EVIDENCE)


def test_an_envelope_reads_as_it_was_written() -> None:
    envelope = Envelope(
        records={"b": RECORD, "a": Record(type="text/y", data=b"", role=Role.ENDORSEMENT)},
    )
    assert Envelope.parse_untrusted(envelope.encode()) == envelope


def test_records_are_found_by_role() -> None:
    envelope = Envelope(records={"a": RECORD, "b": Record(type="t", data=b"", role=Role.RESULT)})
    assert envelope.of_role(Role.EVIDENCE) == (("a", RECORD),)


def test_the_encoding_is_deterministic() -> None:
    other = Record(type="t", data=b"", role=Role.REFERENCE)
    assert Envelope(records={"a": RECORD, "b": other}).encode() == Envelope(records={"b": other, "a": RECORD}).encode()
    assert evidence_digest(b"x").hex().startswith("2d711642")


BAD = {
    "empty bytes": b"",
    "no map": cbor2.dumps(["a"]),
    "no record": cbor2.dumps({}),
    "too many records": cbor2.dumps({str(one): ["t", b"", 4] for one in range(ENVELOPE_RECORDS_MAX + 1)}),
    "number as label": cbor2.dumps({1: ["t", b"", 4]}),
    "bytes as label": cbor2.dumps({b"a": ["t", b"", 4]}),
    "empty label": cbor2.dumps({"": ["t", b"", 4]}),
    "long label": cbor2.dumps({"l" * 65: ["t", b"", 4]}),
    "record is no list": cbor2.dumps({"a": "t"}),
    "two parts": cbor2.dumps({"a": ["t", b""]}),
    "four parts": cbor2.dumps({"a": ["t", b"", 4, 4]}),
    "type is a number": cbor2.dumps({"a": [1, b"", 4]}),
    "empty type": cbor2.dumps({"a": ["", b"", 4]}),
    "long type": cbor2.dumps({"a": ["t" * 129, b"", 4]}),
    "content is text": cbor2.dumps({"a": ["t", "x", 4]}),
    "unknown role": cbor2.dumps({"a": ["t", b"", 3]}),
    "boolean role": cbor2.dumps({"a": ["t", b"", True]}),
    "negative role": cbor2.dumps({"a": ["t", b"", -4]}),
    "float role": cbor2.dumps({"a": ["t", b"", 4.0]}),
    "nested": cbor2.dumps({"a": ["t", [b""], 4]}),
    "duplicate label": b"\xa2" + 2 * (b"\x61a" + cbor2.dumps(["t", b"", 4])),
    "bytes after the end": cbor2.dumps({"a": ["t", b"", 4]}) + b"\x00",
    "cut": cbor2.dumps({"a": ["t", b"data", 4]})[:-2],
    "indefinite map": b"\xbf\x61a" + cbor2.dumps(["t", b"", 4]) + b"\xff",
    "indefinite bytes": b"\xa1\x61a\x83\x61t\x5f\x41x\xff\x04",
    "bad utf-8": b"\xa1\x61\xff" + cbor2.dumps(["t", b"", 4]),
    "date": cbor2.dumps({"a": [datetime.date(2026, 1, 1), b"", 4]}, date_as_datetime=False),
    "regular expression": cbor2.dumps({"a": [re.compile("(a+)+$"), b"", 4]}),
    "fraction": cbor2.dumps({"a": ["t", b"", Fraction(1, 3)]}),
    "big number": cbor2.dumps({"a": ["t", b"", 1 << 4096]}),
    "shared reference": b"\xd8\x1c\xa1\x61a" + cbor2.dumps(["t", b"", 4]),
    "self-describing tag": b"\xd9\xd9\xf7" + cbor2.dumps({"a": ["t", b"", 4]}),
    "nil": cbor2.dumps({"a": ["t", None, 4]}),
    "array of 2^64 items": b"\xa1\x61a\x9b" + b"\xff" * 8,
    "map of 2^64 pairs": b"\xbb" + b"\xff" * 8,
    "bytes of 2^64": b"\xa1\x61a\x83\x61t\x5b" + b"\xff" * 8,
    "cut head": b"\xa1\x61a\x83\x61t\x5a\x00",
    "deep": b"\x81" * 60_000 + b"\x00",
    "too long": cbor2.dumps({"a": ["t", b"x" * EVIDENCE_MAX, 4]}),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_malformed_envelopes_are_refused(data: bytes) -> None:
    with pytest.raises(VerificationError, match="envelope is malformed"):
        Envelope.parse_untrusted(data)


def test_no_tag_reaches_the_library() -> None:
    with pytest.raises(VerificationError, match="kind that envelopes do not use"):
        check_plain_cbor_untrusted(BAD["regular expression"])


@pytest.mark.parametrize(
    "records",
    [{}, {"a": Record(type="", data=b"", role=Role.EVIDENCE)}, {"": RECORD}],
)
def test_an_envelope_that_no_reader_would_take_is_not_written(records: dict[str, Record]) -> None:
    with pytest.raises(LocalProtocolError):
        Envelope(records=records).encode()


def test_an_envelope_over_its_limit_is_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        Envelope(records={"a": Record(type="t", data=b"x" * EVIDENCE_MAX, role=Role.EVIDENCE)}).encode()
