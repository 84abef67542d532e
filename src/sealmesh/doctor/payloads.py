"""What an attacker plants: code that copies every prompt, and a library that is loaded before all others."""

from __future__ import annotations

import importlib.util
import marshal
import shutil
import subprocess
from pathlib import Path
from typing import Final

from sealmesh.doctor.outcome import NotTriedError

#: Said on stderr by a planted library when the process ends: it was in the process to the last.
ALIVE: Final = "planted-library-was-here"
_COMPILE_TIMEOUT_S: Final = 60.0

#: As a `sitecustomize` these 13 lines are all that it takes to copy the prompts of a program that parses JSON.
COPY_PROMPTS: Final = """\
import json
import os
import msgspec

def wrap(parse):
    def copy(text, *rest, **named):
        raw = text.encode() if isinstance(text, str) else bytes(text)
        os.write(2, b"copied: " + raw + b"\\n")
        return parse(text, *rest, **named)
    return copy

json.loads = wrap(json.loads)
msgspec.json.decode = wrap(msgspec.json.decode)
"""

#: Behind it, this undoes an isolated restart: what is started next is started as before.
STAY: Final = """
_start = os.execve

def stay(program, command, environment):
    kept = [word for word in command if word not in ("-I", "-S")]
    return _start(program, kept, {**environment, "PYTHONPATH": os.path.dirname(__file__)})

os.execve = stay
"""

#: The same as a module that stands in front of the real `json`.
_SHADOW: Final = """\
import importlib, os, sys
_here = os.path.dirname(os.path.abspath(__file__))
_kept = list(sys.path)
sys.path[:] = [_entry for _entry in _kept if os.path.abspath(_entry or os.curdir) != _here]
del sys.modules["json"]
importlib.import_module("json")
sys.path[:] = _kept
"""

_LIBRARY: Final = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
__attribute__((destructor)) static void leave(void) { (void)!write(2, "ALIVE\n", sizeof "ALIVE"); }
#ifdef STICKY
/* A program that cleans its environment and starts itself anew finds the library again. */
int execve(const char *path, char *const arguments[], char *const environment[]) {
    int (*real)(const char *, char *const[], char *const[]) = dlsym(RTLD_NEXT, "execve");
    static char kept[4096] = "LD_PRELOAD=";
    Dl_info self;
    size_t count = 0;
    if (!dladdr((void *)execve, &self)) return real(path, arguments, environment);
    strncat(kept, self.dli_fname, sizeof kept - strlen(kept) - 1);
    while (environment[count]) count++;
    char **with = calloc(count + 2, sizeof *with);
    memcpy(with, environment, count * sizeof *with);
    with[count] = kept;
    return real(path, arguments, with);
}
#endif
"""


def write_shadow(folder: Path) -> None:
    """Plant a `json` that stands in front of the real one and copies what it parses."""
    (folder / "json.py").write_text(_SHADOW + COPY_PROMPTS)


def write_compiled(module: Path) -> None:
    """Plant compiled code for a module: the module's own, and the copying of prompts. Never compared with the source.

    Args:
        module: Its source.
    """
    write_compiled_at(module, Path(importlib.util.cache_from_source(str(module))))


def write_compiled_at(module: Path, target: Path) -> None:
    """Plant compiled code for a module at a place of choice."""
    source = _after_the_future(module.read_text(), COPY_PROMPTS)
    code = compile(source, str(module), "exec", dont_inherit=True)
    # PEP 552: bit 0 says that a hash follows, bit 1 clear that nobody compares it.
    head = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(head + marshal.dumps(code))


def _after_the_future(source: str, planted: str) -> str:
    """The source with code at its end, so that imports from `__future__` stay first."""
    return f"{source}\n{planted}"


def build_library(folder: Path, *, sticky: bool) -> Path:
    """Compile a library to be preloaded.

    Args:
        folder: Where it is put.
        sticky: It puts itself back when the process starts itself anew with a clean environment.

    Raises:
        NotTriedError: There is no compiler, or it fails.
    """
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        raise NotTriedError("it needs a C compiler (cc), and none is installed")
    name = "sticky" if sticky else "planted"
    source, library = folder / f"{name}.c", folder / f"{name}.so"
    source.write_text(_LIBRARY.replace("ALIVE", ALIVE))
    define = ["-DSTICKY"] if sticky else []
    try:
        done = subprocess.run(
            [compiler, "-shared", "-fPIC", *define, "-o", str(library), str(source), "-ldl"],
            capture_output=True,
            timeout=_COMPILE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotTriedError("the compiler did not end") from None
    if done.returncode != 0:
        raise NotTriedError("the compiler failed")
    library.chmod(0o755)
    return library
