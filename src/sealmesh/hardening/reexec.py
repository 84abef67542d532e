"""The isolated start: this process starts itself anew, in place, where nothing of its environment chooses its code.

`execve` and no child: same pid, same terminal, nobody in between. It comes before anything heavy or secret is loaded,
so this module imports only what the interpreter has loaded already, and is measured (`benchmarks/startup.py`).
"""

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
#: No folder can be made there: nothing compiled is read. What a user can write to, all of the user's programs can.
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
    """Whether this interpreter runs no start files, reads no variables of its own and no compiled code."""
    return bool(sys.flags.isolated and sys.flags.no_site and sys.pycache_prefix == NO_PYCACHE)


def isolated_command(executable: str, boot: str, arguments: list[str], environment: dict[str, str]) -> list[str]:
    """The command line of the isolated start.

    Args:
        executable: The interpreter.
        boot: The file that it runs; it makes the paths that `site` would have made.
        arguments: What follows the name of the program.
        environment: Tells what is taken out.
    """
    told = ",".join(scrub(environment)[1]) or "-"
    return [executable, "-I", "-S", "-B", "-X", f"pycache_prefix={NO_PYCACHE}", boot, told, *arguments]
