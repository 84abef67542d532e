"""Writes testvectors/admission/*.json, one scenario a file (docs/spec/admission.md).

A second reading of the specification: nothing of sealmesh is imported, only libsodium and the standard library, and
protobuf is written by hand. Everything comes from fixed seeds. Run it to write the files, or with `--check` to compare.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from nacl.bindings import crypto_sign, crypto_sign_seed_keypair

FOLDER = Path(__file__).parent / "admission"
NOW = 1_800_000_000
DAY = 86_400
CLIENT, HOST, RELAY = 1, 2, 4
ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group


def fixed(name: str, length: int = 32) -> bytes:
    """Return the bytes that a vector uses for something random."""
    return hashlib.shake_256(b"sealmesh admission vector: " + name.encode()).digest(length)


class Key:
    """An Ed25519 key with a name."""

    def __init__(self, name: str) -> None:
        self.seed = fixed(name)
        self.public, self._secret = crypto_sign_seed_keypair(self.seed)

    def sign(self, label: str, part: bytes) -> bytes:
        """Sign label ‖ 0x00 ‖ part."""
        return crypto_sign(label.encode() + b"\x00" + part, self._secret)[:64]


def varint(value: int) -> bytes:
    """Return protobuf's variable-length form of a number."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def pb(*fields: tuple[int, int | bytes | str]) -> bytes:
    """Return a protobuf message of numbers and byte strings; zero and empty ones are left out, as proto3 does."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value) if value else b""
        else:
            data = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(data)) + data if data else b""
    return out


def signed(part: bytes, signature: bytes) -> bytes:
    """Return the envelope `Signed`."""
    return pb((1, part), (2, signature))


def mesh_id(issuer: Key) -> bytes:
    """Return the id of the issuer's mesh."""
    return hashlib.sha256(b"sealmesh/1 mesh\x00" + issuer.public).digest()


ISSUER, NEXT, STRANGER = Key("issuer"), Key("next issuer"), Key("stranger")
BEARER, ENDPOINT, OTHER = Key("bearer"), Key("endpoint"), Key("other endpoint")
SERIAL = fixed("serial", 16)


def grant_part(**changes: Any) -> bytes:
    """Return the part of a grant."""
    values = {
        "version": 1,
        "mesh_id": mesh_id(ISSUER),
        "serial": SERIAL,
        "roles": CLIENT | HOST,
        "not_before": NOW,
        "not_after": NOW + DAY,
        "bearer_key": BEARER.public,
        "mesh_name": "home",
    } | changes
    return pb(*enumerate(values.values(), start=1))


def membership_part(**changes: Any) -> bytes:
    """Return the part of a membership."""
    values = {"mesh_id": mesh_id(ISSUER), "serial": SERIAL, "endpoint_id": ENDPOINT.public, "roles": HOST} | changes
    return pb(*enumerate(values.values(), start=1))


def credentials(
    grant: bytes | None = None, membership: bytes | None = None, *, issuer: Key = ISSUER, bearer: Key = BEARER
) -> bytes:
    """Return credentials of these parts, signed by these keys."""
    grant = grant_part() if grant is None else grant
    membership = membership_part() if membership is None else membership
    return pb(
        (1, signed(grant, issuer.sign("sealmesh/1 grant", grant))),
        (2, signed(membership, bearer.sign("sealmesh/1 member", membership))),
    )


def lax(signature: bytes) -> bytes:
    """Return the same signature with a scalar that is not reduced."""
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    return signature[:32] + scalar.to_bytes(32, "little")


def revocations(
    issuer: Key = ISSUER, *, signer: Key | None = None, sequence: int = 1, issued: int = NOW, **lists: list[bytes]
) -> bytes:
    """Return a list of revocations."""
    part = pb(
        (1, 1),
        (2, mesh_id(issuer)),
        (3, sequence),
        (4, issued),
        *((5, serial) for serial in lists.get("serials", [])),
        *((6, endpoint) for endpoint in lists.get("endpoints", [])),
    )
    return signed(part, (signer or issuer).sign("sealmesh/1 revocations", part))


def successor(
    old: Key = ISSUER, new: Key = NEXT, *, signer: Key | None = None, until: int = NOW + DAY, not_before: int = NOW
) -> bytes:
    """Return a successor statement."""
    part = pb((1, 1), (2, mesh_id(old)), (3, new.public), (4, not_before), (5, until))
    label = "sealmesh/1 successor"
    return pb((1, part), (2, (signer or old).sign(label, part)), (3, new.sign(label, part)))


def ticket_payload(**changes: Any) -> bytes:
    """Return a ticket's bytes."""
    part = changes.pop("grant", grant_part())
    signer = changes.pop("signer", ISSUER)
    values: dict[str, Any] = {
        "issuer": ISSUER.public,
        "grant": signed(part, signer.sign("sealmesh/1 grant", part)),
        "seed": BEARER.seed,
        "endpoint": ENDPOINT.public,
        "addresses": ["192.0.2.1:4433", "[2001:db8::1]:4433"],
        "relay": "",
    } | changes
    return pb(
        (1, values["issuer"]),
        (2, values["grant"]),
        (3, values["seed"]),
        (4, values["endpoint"]),
        *((5, address) for address in values["addresses"]),
        (6, values["relay"]),
    )


def ticket_text(payload: bytes) -> str:
    """Return a ticket's text, its checksum right."""
    checksum = hashlib.sha256(b"sealmesh/1 ticket\x00" + payload).digest()[:4]
    return "sealmesh1" + base64.b32encode(payload + checksum).decode().rstrip("=").lower()


def admission(description: str, data: bytes, failure: str | None = None, **given: Any) -> dict[str, Any]:
    """Return a scenario in which credentials are judged."""
    return {
        "description": description,
        "kind": "admission",
        "issuer": ISSUER.public.hex(),
        "now": given.get("now", NOW),
        "proven_id": given.get("proven_id", ENDPOINT.public).hex(),
        "successors": [item.hex() for item in given.get("successors", [])],
        "revocations": [item.hex() for item in given.get("revocations", [])],
        "credentials": data.hex(),
        "expected": {"failure": failure}
        | (
            {}
            if failure
            else {
                "endpoint_id": ENDPOINT.public.hex(),
                "roles": given.get("roles", ["host"]),
                "serial": SERIAL.hex(),
                "not_after": NOW + DAY,
            }
        ),
    }


def ticket(description: str, text: str, failure: str | None = None) -> dict[str, Any]:
    """Return a scenario in which a ticket is read."""
    expected: dict[str, Any] = {"failure": failure}
    if failure is None:
        expected |= {
            "mesh_id": mesh_id(ISSUER).hex(),
            "mesh_name": "home",
            "bearer_key": BEARER.public.hex(),
            "inviter": ENDPOINT.public.hex(),
            "addresses": ["192.0.2.1:4433", "[2001:db8::1]:4433"],
        }
    return {"description": description, "kind": "ticket", "ticket": text, "expected": expected}


def notice(
    description: str, offered: list[bytes], in_force: int | None, failures: list[str | None], **given: Any
) -> Any:
    """Return a scenario in which lists of revocations are offered one after the other."""
    return {
        "description": description,
        "kind": "revocations",
        "issuer": ISSUER.public.hex(),
        "now": NOW,
        "successors": [item.hex() for item in given.get("successors", [])],
        "offered": [item.hex() for item in offered],
        "expected": {"failures": failures, "in_force": in_force},
    }


def scenarios() -> dict[str, dict[str, Any]]:
    """Return every scenario by its file's name."""
    good = credentials()
    half = len(signed(grant_part(), bytes(64))) + 3  # the grant's field, with its tag and length
    rolled = [successor()]
    new_grant = grant_part(mesh_id=mesh_id(NEXT))
    new = credentials(new_grant, membership_part(mesh_id=mesh_id(NEXT)), issuer=NEXT)
    grant_signature = ISSUER.sign("sealmesh/1 grant", grant_part())
    member_field = good[half:]
    lax_credentials = pb((1, signed(grant_part(), lax(grant_signature)))) + member_field
    endpoint_list, serial_list = revocations(endpoints=[ENDPOINT.public]), revocations(serials=[SERIAL])
    empty_later = revocations(sequence=2)
    twins = sorted((revocations(serials=[bytes([n] * 16)]) for n in range(2)), key=lambda d: hashlib.sha256(d).digest())
    text = ticket_text(ticket_payload())
    wrong_mesh = grant_part(mesh_id=mesh_id(STRANGER))
    return {
        "good": admission("Everything in order.", good),
        "all-roles": admission(
            "Every role granted and taken.",
            credentials(grant_part(roles=7), membership_part(roles=7)),
            roles=["client", "host", "relay"],
        ),
        "unknown-field": admission(
            "A field inside a signed part that readers do not know is ignored.", credentials(grant_part() + b"\x78\x01")
        ),
        "too-long": admission("One byte over 1,024.", good + bytes(1025 - len(good)), "credentials_too_long"),
        "empty": admission("Nothing.", b"", "credentials_malformed"),
        "cut": admission("The last byte is missing.", good[:-1], "credentials_malformed"),
        "trailing": admission(
            "An unknown field around the parts: not canonical.", good + b"\x18\x01", "credentials_malformed"
        ),
        "swapped": admission(
            "Membership before grant: not canonical.", good[half:] + good[:half], "credentials_malformed"
        ),
        "long-varint": admission(
            "A length in two bytes that fits one: not canonical.",
            pb((1, signed(grant_part(), grant_signature)))
            + b"\x12"
            + varint(len(member_field) - 2)
            + member_field[3:].replace(b"\x12\x40", b"\x12\xc0\x00", 1),
            "credentials_malformed",
        ),
        "no-role": admission("No role at all.", credentials(None, membership_part(roles=0)), "credentials_malformed"),
        "unknown-role": admission("A role of 8.", credentials(grant_part(roles=8)), "credentials_malformed"),
        "serial-short": admission(
            "A serial of 15 bytes.", credentials(grant_part(serial=SERIAL[1:])), "credentials_malformed"
        ),
        "times-reversed": admission(
            "Ends as it begins.", credentials(grant_part(not_after=NOW)), "credentials_malformed"
        ),
        "name-long": admission(
            "A mesh name of 129 bytes.", credentials(grant_part(mesh_name="n" * 129)), "credentials_malformed"
        ),
        "version": admission("Another version.", credentials(grant_part(version=2)), "grant_version"),
        "wrong-mesh": admission(
            "In order, but of another mesh.",
            credentials(wrong_mesh, membership_part(mesh_id=mesh_id(STRANGER)), issuer=STRANGER),
            "wrong_mesh",
        ),
        "forged-grant": admission(
            "A grant of this mesh, signed by another key.", credentials(issuer=STRANGER), "grant_signature"
        ),
        "grant-changed": admission(
            "A role was added after signing.",
            pb((1, signed(grant_part(roles=7), grant_signature))) + member_field,
            "grant_signature",
        ),
        "grant-wrong-label": admission(
            "The issuer's signature, for another purpose.",
            pb((1, signed(grant_part(), ISSUER.sign("sealmesh/1 revocations", grant_part())))) + member_field,
            "grant_signature",
        ),
        "grant-lax-scalar": admission(
            "The scalar of the grant's signature is not reduced.", lax_credentials, "grant_signature"
        ),
        "grant-small-order": admission(
            "The bearer key is of small order: one signature would hold for every membership.",
            pb((1, signed(p := grant_part(bearer_key=b"\x01" + bytes(31)), ISSUER.sign("sealmesh/1 grant", p))))
            + pb((2, signed(membership_part(), b"\x01" + bytes(63)))),
            "membership_signature",
        ),
        "forged-membership": admission(
            "A membership that another key signed.", credentials(bearer=STRANGER), "membership_signature"
        ),
        "other-serial": admission(
            "A membership under another grant.",
            credentials(None, membership_part(serial=bytes(16))),
            "membership_of_another_grant",
        ),
        "copied": admission("Another endpoint shows them.", good, "wrong_endpoint", proven_id=OTHER.public),
        "role-not-granted": admission(
            "Relay was not granted.", credentials(None, membership_part(roles=HOST | RELAY)), "role_not_granted"
        ),
        "early": admission("61 s before it begins.", good, "grant_not_yet_valid", now=NOW - 61),
        "early-within-skew": admission("60 s before it begins.", good, now=NOW - 60),
        "last-second": admission("The last second.", good, now=NOW + DAY - 1),
        "expired": admission("The second at which it ends.", good, "grant_expired", now=NOW + DAY),
        "revoked-serial": admission("The grant was revoked.", good, "revoked_serial", revocations=[serial_list]),
        "revoked-endpoint": admission(
            "The endpoint was revoked.", good, "revoked_endpoint", revocations=[endpoint_list]
        ),
        "revoked-and-taken-back": admission(
            "A later list names it no more.", good, revocations=[endpoint_list, empty_later]
        ),
        "revocation-rolled-back": admission(
            "An earlier list comes after the later one.",
            good,
            "revoked_endpoint",
            revocations=[revocations(sequence=3, endpoints=[ENDPOINT.public]), empty_later],
        ),
        "successor-unknown": admission("Of an issuer that nobody named.", new, "wrong_mesh"),
        "successor": admission("Of the new issuer.", new, successors=rolled),
        "predecessor-counts": admission("Of the old issuer, before the date.", good, successors=rolled),
        "predecessor-ended": admission(
            "Of the old issuer, at the date.",
            good,
            "wrong_issuer",
            successors=[successor(until=NOW + 100)],
            now=NOW + 100,
        ),
        "successor-early": admission(
            "Of the new issuer, 61 s before it counts.",
            new,
            "wrong_issuer",
            successors=[successor(not_before=NOW + 61, until=NOW + 100)],
        ),
        "ticket-good": ticket("Everything in order.", text),
        "ticket-spaces": ticket("Spaces around it.", f" {text}\n"),
        "ticket-other-text": ticket("Something else.", "hello", "ticket"),
        "ticket-upper": ticket("In capitals.", text.upper(), "ticket"),
        "ticket-mistyped": ticket(
            "One character is another.", text[:30] + "7b"[text[30] == "7"] + text[31:], "ticket_mistyped"
        ),
        "ticket-cut": ticket("The last eight characters are missing.", text[:-8], "ticket_mistyped"),
        "ticket-padding": ticket("Padded.", text + "=" * (-(len(text) - 9) % 8 or 8), "ticket_mistyped"),
        "ticket-too-long": ticket("4,097 characters.", text + "a" * (4097 - len(text)), "ticket_too_long"),
        "ticket-address": ticket(
            "An address by name.", ticket_text(ticket_payload(addresses=["example.org:1"])), "ticket"
        ),
        "ticket-nine-addresses": ticket(
            "Nine addresses.", ticket_text(ticket_payload(addresses=["192.0.2.1:1"] * 9)), "ticket"
        ),
        "ticket-relay": ticket("Not a URL.", ticket_text(ticket_payload(relay="gopher://x")), "ticket"),
        "ticket-issuer-swapped": ticket(
            "Another issuer key was put in, the checksum made anew.",
            ticket_text(ticket_payload(issuer=STRANGER.public)),
            "grant_signature",
        ),
        "ticket-bearer-swapped": ticket(
            "Another bearer seed was put in, the checksum made anew.",
            ticket_text(ticket_payload(seed=STRANGER.seed)),
            "ticket_bearer",
        ),
        "ticket-mesh": ticket(
            "The grant is for another mesh.", ticket_text(ticket_payload(grant=wrong_mesh)), "wrong_mesh"
        ),
        "list-newest": notice("The higher sequence wins.", [endpoint_list, empty_later], 1, [None, None]),
        "list-older": notice("The lower sequence loses.", [empty_later, endpoint_list], 0, [None, None]),
        "list-twins": notice("With one sequence the lower digest wins.", twins, 0, [None, None]),
        "list-twins-reversed": notice("In the other order too.", twins[::-1], 1, [None, None]),
        "list-forged": notice(
            "Signed by another key.", [revocations(signer=STRANGER)], None, ["revocations_signature"]
        ),
        "list-other-mesh": notice("Of another mesh.", [revocations(STRANGER)], None, ["wrong_mesh"]),
        "list-ahead": notice("Issued 61 s ahead.", [revocations(issued=NOW + 61)], None, ["revocations"]),
        "list-ahead-within-skew": notice("Issued 60 s ahead.", [revocations(issued=NOW + 60)], 0, [None]),
        "list-new-issuer": notice(
            "The new issuer's list outranks every list of the old one.",
            [revocations(NEXT), revocations(sequence=1000)],
            0,
            [None, None],
            successors=rolled,
        ),
    }


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    wanted = {f"{name}.json": json.dumps(content, indent=2) + "\n" for name, content in scenarios().items()}
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
