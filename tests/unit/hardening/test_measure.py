"""The measurement: the same for the same files, another for any change, and what no list can vouch for."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import pytest

from sealmesh.errors import ConfigError
from sealmesh.hardening import measure as source
from sealmesh.hardening.measure import Environment, measure, platform_tag, this_environment

METADATA = "Metadata-Version: 2.4\nName: Thing\nVersion: 1.0\n"


def make(root: Path) -> Environment:
    """A small environment, as an installer leaves it."""
    site = root / "lib" / "python3.11" / "site-packages"
    scripts = root / "bin"
    info = site / "thing-1.0.dist-info"
    for folder in (site / "thing" / "data", site / "space" / "part", info / "licenses", scripts, root / "share"):
        folder.mkdir(parents=True)
    (site / "thing" / "__init__.py").write_text("answer = 42\n")
    (site / "thing" / "native.so").write_bytes(b"\x7fELF")
    (site / "thing" / "data" / "table.json").write_text("{}")
    (site / "space" / "part" / "module.py").write_text("")
    (info / "METADATA").write_text(METADATA)
    (info / "licenses" / "LICENSE").write_text("free")
    (info / "INSTALLER").write_text("pip")
    (info / "direct_url.json").write_text('{"url": "file:///somewhere"}')
    (scripts / "thing").write_text(f"#!{root}/bin/python\n")
    (scripts / "tool").write_bytes(b"\x7fELF tool")
    (root / "share" / "thing.1").write_text("manual")
    record = ["thing/__init__.py,sha256=x,12", "../../../bin/thing,sha256=x,1", "../../../bin/tool,sha256=x,1"]
    record += ['"../../../share/thing.1",sha256=x,1', "../../../share/gone.1,,"]
    (info / "RECORD").write_text("\n".join(record))
    return Environment(sites=(site,), prefix=root, scripts=scripts, platform="linux-x86_64-cp311")


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return make(tmp_path / "one")


def test_two_installs_are_the_same(environment: Environment, tmp_path: Path) -> None:
    other = make(tmp_path / "another")
    info = other.sites[0] / "thing-1.0.dist-info"
    (info / "INSTALLER").write_text("uv")
    (info / "REQUESTED").write_text("")
    (info / "uv_cache.json").write_text("{}")
    (info / "direct_url.json").write_text('{"url": "file:///elsewhere"}')
    assert measure(other).manifest == measure(environment).manifest
    assert measure(environment).unblessed == ()


def line(content: bytes, name: str) -> str:
    return f"file {hashlib.sha256(content).hexdigest()} {name}"


def test_the_measurement_is_the_digest_of_the_manifest(environment: Environment) -> None:
    found = measure(environment)
    assert found.digest == hashlib.sha256(found.manifest).digest() == found.claimed
    assert found.manifest.decode().splitlines() == [
        "sealmesh-measurement 1",
        "platform linux-x86_64-cp311",
        "distribution thing 1.0",
        line(b"\x7fELF tool", "prefix/bin/tool"),
        line(b"manual", "prefix/share/thing.1"),
        line(b"", "site/space/part/module.py"),
        line(METADATA.encode(), "site/thing-1.0.dist-info/METADATA"),
        line(b"free", "site/thing-1.0.dist-info/licenses/LICENSE"),
        line(b"answer = 42\n", "site/thing/__init__.py"),
        line(b"{}", "site/thing/data/table.json"),
        line(b"\x7fELF", "site/thing/native.so"),
    ]
    assert (found.distributions, found.files, found.size) == (1, 8, len(METADATA) + 12 + 4 + 4 + 2 + 9 + 6)


def test_use_changes_nothing(environment: Environment) -> None:
    before = measure(environment)
    cache = environment.sites[0] / "thing" / "__pycache__"
    cache.mkdir()
    (cache / "__init__.cpython-311.pyc").write_bytes(b"made by use")
    assert measure(environment).manifest == before.manifest


CHANGES: dict[str, Callable[[Path], object]] = {
    "one byte of a module": lambda site: (site / "thing" / "__init__.py").write_text("answer = 43\n"),
    "one byte of a library": lambda site: (site / "thing" / "native.so").write_bytes(b"\x7fELG"),
    "one byte of data": lambda site: (site / "thing" / "data" / "table.json").write_text("[]"),
    "one byte of a licence": lambda site: (site / "thing-1.0.dist-info" / "licenses" / "LICENSE").write_text("none"),
    "a namespace package's module": lambda site: (site / "space" / "part" / "more.py").touch(),
    "a stray module": lambda site: (site / "stray.py").write_text("import os"),
    "a stray module, empty": lambda site: (site / "stray.py").touch(),
    "a .pth": lambda site: (site / "a.pth").write_text("import stray\n"),
    "sitecustomize": lambda site: (site / "sitecustomize.py").touch(),
    "bytecode without its source": lambda site: (site / "stray.pyc").touch(),
    "a module hidden in a cache": lambda site: _put(site / "thing" / "__pycache__" / "evil.py"),
    "a note's name outside of an installer's folder": lambda site: (site / "thing" / "RECORD").touch(),
    "a note's name deep in an installer's folder": lambda site: _put(site / "thing-1.0.dist-info" / "x" / "RECORD"),
    "a file that is gone": lambda site: (site / "thing" / "native.so").unlink(),
    "a file with another name": lambda site: (site / "thing" / "native.so").rename(site / "thing" / "native2.so"),
    "a tool beside the packages": lambda site: (site.parents[2] / "bin" / "tool").write_bytes(b"\x7fELF took"),
    "data beside the packages": lambda site: (site.parents[2] / "share" / "thing.1").write_text("Manual"),
    "a link to nothing": lambda site: (site / "loose.py").symlink_to("nowhere"),
    "a pipe": lambda site: os.mkfifo(site / "pipe.py"),
    "a linked package": lambda site: (site / "linked").symlink_to(site / "thing"),
    "a linked module": lambda site: (site / "linked.py").symlink_to(site / "thing" / "__init__.py"),
}


def _put(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    path.touch()


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_any_change_shows(environment: Environment, change: Callable[[Path], object]) -> None:
    before = measure(environment)
    change(environment.sites[0])
    assert measure(environment).digest != before.digest


def test_a_link_counts_by_what_it_leads_to(environment: Environment, tmp_path: Path) -> None:
    """Installers may link files from their cache: the content is what counts, and a package behind a link is seen."""
    module = environment.sites[0] / "thing" / "__init__.py"
    before = measure(environment)
    kept = tmp_path / "cache.py"
    module.rename(kept)
    module.symlink_to(kept)
    assert measure(environment).manifest == before.manifest
    kept.write_text("answer = 43\n")
    assert measure(environment).digest != before.digest
    (environment.sites[0] / "linked").symlink_to(tmp_path / "one" / "share")
    assert b" site/linked/thing.1" in measure(environment).manifest


def test_a_link_that_leads_back_up_ends(environment: Environment) -> None:
    (environment.sites[0] / "thing" / "loop").symlink_to(environment.sites[0])
    assert measure(environment).files == 8


def test_a_launcher_may_name_its_environment(environment: Environment) -> None:
    before = measure(environment)
    (environment.scripts / "thing").write_text("#!/elsewhere/bin/python\n")
    assert measure(environment).manifest == before.manifest


def test_a_name_cannot_look_like_another_line(environment: Environment) -> None:
    (environment.sites[0] / "a\nfile 00 site\\b\x1b[2J\udcff").touch()
    lines = measure(environment).manifest.decode("ascii").splitlines()
    assert sum(line.startswith("file 00") for line in lines) == 0
    assert any(line.endswith(" site/a%0Afile 00 site%5Cb%1B[2J%FF") for line in lines)


def test_the_platform_is_part_of_it(environment: Environment) -> None:
    other = dataclasses.replace(environment, platform="darwin-arm64-cp311")
    assert measure(other).digest != measure(environment).digest


def test_an_editable_install_is_unblessed_and_says_so(environment: Environment) -> None:
    note = environment.sites[0] / "thing-1.0.dist-info" / "direct_url.json"
    before = measure(environment)
    note.write_text('{"url": "file:///src", "dir_info": {"editable": true}}')
    found = measure(environment)
    assert found.unblessed == ("thing is installed editable: its code can change at any time",)
    assert found.claimed == b""
    assert found.digest != before.digest  # an honest build never has the digest of an editable one


@pytest.mark.parametrize(
    "content", ["", "[]", '{"dir_info": 1}', '{"dir_info": {"editable": "true"}}', "\xff", "[" * 9999]
)
def test_a_note_that_says_nothing_of_the_kind(environment: Environment, content: str) -> None:
    (environment.sites[0] / "thing-1.0.dist-info" / "direct_url.json").write_text(content, "latin-1")
    assert measure(environment).unblessed == ()


def test_a_host_hashes_nothing_that_it_would_not_claim(environment: Environment) -> None:
    blessed = measure(environment)
    assert measure(environment, unclaimed=False) == blessed
    note = next(environment.sites[0].glob("*.dist-info")) / "direct_url.json"
    note.write_text('{"url": "file:///somewhere", "dir_info": {"editable": true}}')
    whole, claim = measure(environment), measure(environment, unclaimed=False)
    assert (whole.files, claim.files) == (blessed.files, 0)
    assert claim.claimed == whole.claimed == b""
    assert claim.unblessed == whole.unblessed != ()


def test_code_from_outside_is_unblessed(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (environment.sites[0] / "more.pth").write_text(f"# a comment\nimport os\nthing\nnowhere\n{tmp_path}/elsewhere\n")
    words = ("modules can come from a folder outside of the environment",)
    assert measure(environment).unblessed == words
    (environment.sites[0] / "more.pth").unlink()
    assert measure(environment).unblessed == ()
    assert measure(dataclasses.replace(environment, outside=(tmp_path,))).unblessed == words


def test_start_files_from_elsewhere_count(environment: Environment, tmp_path: Path) -> None:
    start = tmp_path / "sitecustomize.py"
    start.write_text("import evil")
    with_start = dataclasses.replace(environment, start_files={"sitecustomize": start})
    assert b" start/sitecustomize.py\n" in measure(with_start).manifest


def test_a_file_that_cannot_be_read_says_so(environment: Environment) -> None:
    loop = environment.sites[0] / "thing" / "round.py"
    loop.symlink_to(loop)
    with pytest.raises(ConfigError, match=r"round\.py cannot be read .* cannot be measured"):
        measure(environment)


def test_this_process_is_measured_where_it_runs() -> None:
    found = this_environment()
    assert Path(sysconfig.get_path("purelib")).resolve() in found.sites
    assert found.platform == platform_tag()
    assert not any("lib-dynload" in str(path) or path.suffix == ".zip" for path in found.outside)
    # The tests run from a checkout: its `.pth` names the source, and measure says that this is no build.
    assert "sealmesh is installed editable: its code can change at any time" in source._faults(found)


def test_a_folder_of_the_environment_variable_is_outside(tmp_path: Path) -> None:
    import subprocess

    script = (
        "from sealmesh.hardening.measure import this_environment, json\n"
        "print(json.dumps([str(path) for path in this_environment().outside]))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert str(tmp_path) in json.loads(run.stdout)


def test_what_json_says(environment: Environment) -> None:
    found = measure(environment)
    assert found.describe() == {
        "measurement": found.digest.hex(),
        "platform": "linux-x86_64-cp311",
        "version": found.version,
        "manifest_length": len(found.manifest),
        "distributions": 1,
        "files": 8,
        "bytes": found.size,
        "unblessed": [],
        "source": "self_asserted",
    }


# --- odd things that installers and people leave: none of them stops a node, none of them is passed over -------------


@pytest.mark.parametrize("name", ["old-1.dist-info/METADATA", "old-1.egg-info"])
def test_metadata_in_another_encoding_has_no_name(environment: Environment, name: str) -> None:
    path = environment.sites[0] / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes("Name: old\nVersion: 1\nAuthor: Jörg\n".encode("latin-1"))
    lines = measure(environment).manifest.decode().splitlines()
    assert "distribution unknown unknown" in lines
    assert any(line.endswith(f" site/{name}") for line in lines)


def test_a_name_that_no_system_could_have_is_no_file(environment: Environment) -> None:
    site = environment.sites[0]
    (site / "long.pth").write_text(f"/{'a' * 5000}\n/nul\0\n")
    with (site / "thing-1.0.dist-info" / "RECORD").open("a") as record:
        record.write(f"\n../{'a' * 5000},,\n")
    assert measure(environment).unblessed == ()


def test_path_files_that_hold_no_lines(environment: Environment, tmp_path: Path) -> None:
    site = environment.sites[0]
    (site / "folder.pth").mkdir()
    (site / "gone.pth").symlink_to(tmp_path / "nowhere")
    os.mkfifo(site / "pipe.pth")
    found = measure(environment)
    assert found.unblessed == ()
    assert {"dangling site/gone.pth", "special site/pipe.pth"} <= set(found.manifest.decode().splitlines())


def test_a_pipe_among_the_scripts_is_not_waited_for(environment: Environment) -> None:
    (environment.scripts / "thing").unlink()
    os.mkfifo(environment.scripts / "thing")
    assert b"\nspecial prefix/bin/thing\n" in measure(environment).manifest


def test_a_path_line_is_read_as_the_interpreter_reads_it(environment: Environment, tmp_path: Path) -> None:
    folder = tmp_path / "ex\ftra"
    folder.mkdir()
    (environment.sites[0] / "a.pth").write_text(f"{folder}\n")
    assert measure(environment).unblessed == ("modules can come from a folder outside of the environment",)


@pytest.mark.parametrize(
    ("listed", "name"),
    [
        ("thing/../../../../share/way.1", "way.1"),
        ('"../../../share/a""b, c.1"', "a%22b, c.1"),
        ('"../../../share/two\nlines.1"', "two%0Alines.1"),
    ],
)
def test_whatever_is_listed_outside_is_named(environment: Environment, listed: str, name: str) -> None:
    share = environment.prefix / "share"
    for one in ("way.1", 'a"b, c.1', "two\nlines.1"):
        (share / one).write_text("manual")
    with (environment.sites[0] / "thing-1.0.dist-info" / "RECORD").open("a", newline="") as record:
        record.write(f"\n{listed},sha256=x,1\n")
    lines = measure(environment).manifest.decode().splitlines()
    assert len([line for line in lines if line.endswith(f" prefix/share/{name}")]) == 1


def test_names_of_packages_are_the_same_in_every_locale(environment: Environment) -> None:
    info = environment.sites[0] / "thing-1.0.dist-info"
    (info / "METADATA").write_text("Name: Thöng\nVersion: 1.0\n", "utf-8")
    program = (
        "import sys; from pathlib import Path; from sealmesh.hardening.measure import Environment, measure\n"
        "site, prefix = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "found = Environment(sites=(site,), prefix=prefix, scripts=prefix / 'bin', platform='linux-x86_64-cp311')\n"
        "print(measure(found).digest.hex())"
    )
    command = [sys.executable, "-I", "-X", "utf8=0", "-c", program, str(environment.sites[0]), str(environment.prefix)]
    run = subprocess.run(
        command, check=True, capture_output=True, text=True, env={"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0"}
    )
    assert run.stdout.strip() == measure(environment).digest.hex()
