"""The guarded replacements of the binding's slow copy and slow calls."""

from __future__ import annotations

import asyncio
import gc
import importlib.metadata
from types import SimpleNamespace

import pytest
from iroh import iroh_ffi

from sealmesh.transport import binding as binding_module
from sealmesh.transport import iroh as transport

ADVICE = (
    "what sealmesh replaces in iroh's binding is not the code that it knows any more: streams now run at the binding's "
    "own speed. Read {0} in iroh_ffi.py. If it still works as before and the replacement in transport/binding.py still "
    "fits, take over the new source_digest; if the binding became fast itself, remove the replacement."
)


class OtherBinding:
    """Stands for the binding of a later iroh."""

    class _UniffiRustBuffer:
        pass

    class _UniffiRustBufferBuilder:
        def write(self, value: bytes) -> None:
            raise NotImplementedError

    class _UniffiHandleMap:
        pass

    @staticmethod
    def _uniffi_set_future_result(future: object, code: int) -> None:
        raise NotImplementedError

    @staticmethod
    async def _uniffi_rust_call_async() -> None:
        raise NotImplementedError


class Bare:
    """Has no source to read: its parts were made without a file."""

    _UniffiRustBuffer = type("_UniffiRustBuffer", (), {})
    _UniffiRustBufferBuilder = type("_UniffiRustBufferBuilder", (), {})
    _UniffiHandleMap = type("_UniffiHandleMap", (), {})
    _uniffi_set_future_result = _uniffi_rust_call_async = len


def lowered(value: bytes) -> bytes:
    """Return what the library would get: u32 length and the bytes."""
    buffer = iroh_ffi._UniffiFfiConverterBytes.lower(value)
    try:
        return bytes(buffer.data[: buffer.len])
    finally:
        buffer.free()


def test_the_replacements_are_in_force_for_the_installed_iroh() -> None:
    version = importlib.metadata.version("iroh")
    assert transport.FAST_COPY, f"iroh {version}: {ADVICE.format('_UniffiRustBufferBuilder.write')}"
    assert transport.FAST_CALLS, f"iroh {version}: {ADVICE.format('_uniffi_rust_call_async')}"


@pytest.mark.parametrize("binding", [OtherBinding, Bare])
def test_code_that_is_not_known_is_left_alone(binding: type) -> None:
    before = (dict(vars(binding)), dict(vars(binding._UniffiRustBufferBuilder)))  # type: ignore[attr-defined]
    assert not binding_module.install_fast_copy(binding, known=transport.BUILDER_SOURCE)
    assert not binding_module.install_fast_calls(binding, known=transport.CALLS_SOURCE)
    assert (dict(vars(binding)), dict(vars(binding._UniffiRustBufferBuilder))) == before  # type: ignore[attr-defined]


def test_an_empty_digest_is_never_known() -> None:
    assert binding_module.source_digest(Bare._UniffiRustBuffer) == ""
    assert transport.BUILDER_SOURCE
    assert transport.CALLS_SOURCE


@pytest.mark.parametrize("length", [0, 1, 11, 12, 13, 255, 65536, 1 << 20])
def test_bytes_are_copied_unchanged(length: int) -> None:
    data = bytes(number * 7 % 251 for number in range(length))
    assert lowered(data) == len(data).to_bytes(4, "big") + data


@pytest.mark.parametrize("shape", [bytes, bytearray, memoryview])
def test_every_kind_of_bytes_is_taken(shape: type) -> None:
    assert lowered(shape(b"some bytes")) == b"\x00\x00\x00\x0asome bytes"


def test_a_strided_view_is_copied_by_its_items() -> None:
    assert lowered(memoryview(b"a-b-c-")[::2]) == b"\x00\x00\x00\x03abc"  # type: ignore[arg-type]


def test_the_librarys_objects_are_not_freed_where_they_are_found() -> None:
    """The collector may find one within a callback, under a lock that freeing it takes: a node stood still for ever."""
    freed: list[str] = []

    class Native:
        def __init__(self, name: str) -> None:
            self.name = name
            self.self = self  # only the collector finds it

        def __del__(self) -> None:
            freed.append(self.name)

    assert binding_module.install_late_ends(SimpleNamespace(Native=Native, other=1, Plain=OtherBinding)) == 1
    for name in ("one", "two"):
        Native(name)
    gc.collect()
    assert freed == []
    binding_module.free_ended()
    gc.collect()
    binding_module.free_ended()
    assert sorted(freed) == ["one", "two"]


@pytest.mark.parametrize("name", ["SendStream", "RecvStream", "BiStream", "Connection", "Endpoint"])
def test_the_installed_iroh_ends_its_objects_late(name: str) -> None:
    assert transport.LATE_ENDS
    assert getattr(iroh_ffi, name).__del__.__module__ == binding_module.__name__


@pytest.mark.parametrize("way", ["collected", "dropped"])
async def test_a_native_call_that_nobody_holds_is_freed_late_and_a_dropped_one_at_once(way: str) -> None:
    freed: list[int] = []

    def never(native: int, callback: object, handle: int) -> None:
        iroh_ffi._UniffiContinuationHandleMap.remove(handle)  # the library will not call back

    coroutine = iroh_ffi._uniffi_rust_call_async(7, never, None, freed.append, None, None)
    call = binding_module.NativeCall(coroutine)
    await asyncio.sleep(0)
    if way == "dropped":
        call.drop()
        assert freed == [7]
        return
    del coroutine, call
    gc.collect()
    assert freed == []
    binding_module.free_ended()
    assert freed == [7]
