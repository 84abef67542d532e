"""The isolated start: this process starts itself anew, in place, where nothing of its environment chooses its code.

`execve` and no child: same pid, same terminal, nobody in between. It comes before anything heavy or secret is loaded,
so this module imports only what the interpreter has loaded already, and is measured (`benchmarks/startup.py`).
"""

import os
import stat
import sys

#: Variables that make the loader, the interpreter or a library run other code, or write down secrets. The first
#: group by their beginnings.
_PREFIXES = ("LD_", "DYLD_", "PYTHON")
_NAMES = frozenset(
    {
        "GCONV_PATH",  # libc loads converters from there
        "GGML_BACKEND_PATH",  # llama.cpp loads a back end from there
        "GLIBC_TUNABLES",
        "OPENSSL_CONF",  # OpenSSL loads engines and providers that it names
        "OPENSSL_ENGINES",
        "OPENSSL_MODULES",
        "SSLKEYLOGFILE",  # the API's TLS secrets would be written there
    }
)
#: No folder can be made there: nothing compiled is kept or read.
NO_PYCACHE = "/dev/null/none"


def scrub(environment: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """Part the environment from what chooses code.

    Returns:
        What is kept, and the names of what is not, sorted.
    """
    removed = sorted(name for name in environment if is_dangerous(name))
    return {name: value for name, value in environment.items() if name not in removed}, removed


def is_dangerous(name: str) -> bool:
    """Whether a variable of this name can choose code."""
    return name.startswith(_PREFIXES) or name in _NAMES


def is_isolated() -> bool:
    """Whether this interpreter runs no start files, reads no variables of its own and has a cache of its own."""
    return bool(sys.flags.isolated and sys.flags.no_site and sys.pycache_prefix)


def isolated_command(executable: str, boot: str, arguments: list[str], environment: dict[str, str]) -> list[str]:
    """The command line of the isolated start.

    Args:
        executable: The interpreter.
        boot: The file that it runs; it makes the paths that `site` would have made.
        arguments: What follows the name of the program.
        environment: Names the cache folder, and tells what is taken out.
    """
    removed = scrub(environment)[1]
    cache = pycache_folder(environment) or NO_PYCACHE
    told = ",".join(removed) or "-"
    return [executable, "-I", "-S", "-X", f"pycache_prefix={cache}", boot, told, *arguments]


def pycache_folder(environment: dict[str, str]) -> str:
    """The folder for compiled code, made if need be; "" where there is none that only this user can write to."""
    home = environment.get("HOME", "")
    base = environment.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(home, "Library/Caches" if sys.platform == "darwin" else ".cache") if home else ""
    if not os.path.isabs(base):
        return ""
    folder = base
    try:
        os.makedirs(base, mode=0o700, exist_ok=True)
        for name in ("sealmesh", "pycache"):
            folder = os.path.join(folder, name)
            if not os.path.isdir(folder):
                os.mkdir(folder, 0o700)
    except OSError:
        return ""
    return folder if is_private_cache(folder) else ""


def is_private_cache(folder: str) -> bool:
    """Whether nobody else can put compiled code there: the folder and the two above it are this user's alone."""
    for path in (folder, os.path.dirname(folder), os.path.dirname(os.path.dirname(folder))):
        try:
            found = os.lstat(path)
        except OSError:
            return False
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return False
    return True
