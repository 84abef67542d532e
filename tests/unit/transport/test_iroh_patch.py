"""The guarded replacement of the binding's slow copy."""

from __future__ import annotations

import importlib.metadata

import pytest
from iroh import iroh_ffi

from sealmesh.transport import iroh as transport

ADVICE = (
    "iroh's copy into native buffers is not the code that sealmesh replaces any more: streams now run at the binding's "
    "own speed. Read _UniffiRustBufferBuilder.write in iroh_ffi.py; if it still copies byte by byte and the "
    "replacement in sealmesh/transport/iroh.py still fits, take over its new source_digest as BUILDER_SOURCE; if it "
    "copies at once, remove the replacement."
)


class SomeBuilder:
    """Stands for the class of a later iroh."""

    def write(self, value: bytes) -> None:
        raise NotImplementedError


def lowered(value: bytes) -> bytes:
    """Return what the library would get: u32 length and the bytes."""
    buffer = iroh_ffi._UniffiFfiConverterBytes.lower(value)
    try:
        return bytes(buffer.data[: buffer.len])
    finally:
        buffer.free()


def test_the_replacement_is_in_force_for_the_installed_iroh() -> None:
    assert transport.FAST_COPY, f"iroh {importlib.metadata.version('iroh')}: {ADVICE}"


def test_code_that_is_not_known_is_left_alone() -> None:
    before = SomeBuilder.write
    assert not transport.install_fast_copy(SomeBuilder, iroh_ffi._UniffiRustBuffer, known=transport.BUILDER_SOURCE)
    assert SomeBuilder.write is before


def test_a_class_without_source_is_left_alone() -> None:
    bare = type("Bare", (), {})
    assert not transport.install_fast_copy(bare, iroh_ffi._UniffiRustBuffer, known=transport.BUILDER_SOURCE)
    assert not hasattr(bare, "write")


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 255, 65536, 1 << 20])
def test_bytes_are_copied_unchanged(length: int) -> None:
    data = bytes(number * 7 % 251 for number in range(length))
    assert lowered(data) == len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("shape", [bytes, bytearray, memoryview])
def test_every_kind_of_bytes_is_taken(shape: type) -> None:
    assert lowered(shape(b"some bytes")) == b"\x00\x00\x00\x0asome bytes"


def test_a_strided_view_is_copied_by_its_items() -> None:
    assert lowered(memoryview(b"a-b-c-")[::2]) == b"\x00\x00\x00\x03abc"  # type: ignore[arg-type]
