"""The first file of an isolated start: makes the paths that `site` would have made, hardens, and runs the command.

It runs as `python -I -S -B -X pycache_prefix=… boot.py REMOVED ARGUMENTS…`. No start file has run: no sitecustomize,
no `.pth`, no PYTHONPATH; and packages are compiled from their sources. They are found where the interpreter's own
environment keeps them, and sealmesh where this file is, which is how an editable install is found too.
"""

import os
import sys


def package_folders(boot: str, executable: str) -> list[str]:
    """The folders that hold sealmesh and what it needs, in the order of the import path.

    Args:
        boot: The path of this file, in `PACKAGES/sealmesh/cli/`.
        executable: The interpreter, in the `bin` of an environment.
    """
    import site  # its definitions; under -S none of its start files runs

    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(boot))))
    environment = os.path.dirname(os.path.dirname(executable))
    settings = _read_settings(os.path.join(environment, "pyvenv.cfg"))
    prefixes = [sys.base_prefix] if settings is None else [environment]
    if settings is not None and settings.get("include-system-site-packages") == "true":
        prefixes.append(sys.base_prefix)
    folders = site.getsitepackages(prefixes)
    user = site.getusersitepackages()
    if own == user:
        folders.insert(0, user)  # installed for one user: what it needs is there too
    if own not in folders:
        folders.append(own)
    return [folder for folder in folders if os.path.isdir(folder)]


def _enter_environment() -> None:
    """Name a virtual environment as the prefix, as `site` does: what is installed is looked for there."""
    environment = os.path.dirname(os.path.dirname(sys.executable))
    if os.path.isfile(os.path.join(environment, "pyvenv.cfg")):
        sys.prefix = sys.exec_prefix = environment


def _read_settings(path: str) -> dict[str, str] | None:
    """The content of a virtual environment's `pyvenv.cfg`; None where there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            pairs = (line.partition("=") for line in file)
            return {key.strip().lower(): value.strip().lower() for key, _, value in pairs}
    except OSError:
        return None


def prepare(boot: str, removed: str) -> None:
    """Make the paths and harden this process: after this, anything may be loaded.

    Args:
        boot: The path of this file.
        removed: The names of the variables that were taken out, parted by commas; "-" for none.
    """
    _enter_environment()
    sys.path += [folder for folder in package_folders(boot, sys.executable) if folder not in sys.path]
    from sealmesh.hardening.compiled import use_compiled_library

    use_compiled_library()
    from sealmesh.hardening.process import harden_process

    harden_process(removed=[] if removed == "-" else removed.split(","))


def start() -> None:
    """Make the paths, harden this process, run the command."""
    boot, removed, *arguments = sys.argv
    prepare(boot, removed)
    sys.argv = ["sealmesh", *arguments]
    from sealmesh.cli.main import main

    main()


if __name__ == "__main__":
    start()
