"""What a set-up check found, and the checks of the machine: clock, TPM, disk, model."""

from __future__ import annotations

import ctypes
import enum
import grp
import os
import pwd
import shutil
import stat
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sealmesh.backend.models import KNOWN, PackagedModel, hash_file
from sealmesh.errors import SealmeshError
from sealmesh.limits import MIB

_SKEW_MAX_S: Final = 60.0  # what PROTOCOL.md lets the clocks of two members differ by
_FREE_LOW: Final = 500 * MIB  # evidence, logs and a small model; the default model is 98 MB
_UNSYNCHRONISED: Final = 5  # TIME_ERROR of <sys/timex.h>
_GGUF: Final = b"GGUF"


class Verdict(enum.StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"  # it will work, or may; worth knowing
    PROBLEM = "problem"  # a node will not start, or not be reached
    UNKNOWN = "cannot tell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing about the set-up.

    Attributes:
        id: Its stable name.
        verdict: How it is.
        found: What was seen, in words.
        advice: What to do; "" where there is nothing to do.
    """

    id: str
    verdict: Verdict
    found: str
    advice: str = ""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(id=name, verdict=Verdict.OK, found=found)


def warning(name: str, found: str, advice: str) -> Check:
    """Worth knowing."""
    return Check(id=name, verdict=Verdict.WARNING, found=found, advice=advice)


def problem(name: str, found: str, advice: str) -> Check:
    """To be mended."""
    return Check(id=name, verdict=Verdict.PROBLEM, found=found, advice=advice)


def unknown(name: str, found: str, advice: str = "") -> Check:
    """It cannot be seen from here."""
    return Check(id=name, verdict=Verdict.UNKNOWN, found=found, advice=advice)


# --- the clock ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """What can be read of the clocks without asking anybody.

    Attributes:
        wall: Unix seconds.
        since_boot: Seconds since the machine started, by a clock that nobody sets; None where there is none.
        booted_at: When the kernel says that the machine started, Unix seconds; None where it does not.
        installed_at: When the newest file of sealmesh was written, Unix seconds.
        synchronised: Whether the kernel takes its clock for synchronised; None where it does not say.
    """

    wall: float
    since_boot: float | None
    booted_at: float | None
    installed_at: float
    synchronised: bool | None


def read_clocks() -> Clocks:
    """The clocks of this machine."""
    since = time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else None
    return Clocks(
        wall=time.time(),
        since_boot=since,
        booted_at=_boot_time(Path("/proc/stat")),
        installed_at=max(path.stat().st_mtime for path in Path(__file__).parents[1].glob("*.py")),
        synchronised=_is_synchronised(),
    )


def _boot_time(path: Path) -> float | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), None)


def _is_synchronised() -> bool | None:
    library = ctypes.CDLL(None)
    if not hasattr(library, "ntp_adjtime"):
        return None
    answer = library.ntp_adjtime(ctypes.create_string_buffer(512))  # zeros ask and change nothing
    return None if answer < 0 else answer != _UNSYNCHRONISED


def check_clock_plausible(clocks: Clocks, status: Mapping[str, Any] | None = None) -> Check:
    """Whether the clock can be right; what peers say of it where a node runs. Nobody outside is asked.

    Args:
        clocks: What was read.
        status: `/api/status` of the running node; None where none runs.
    """
    advice = "set the clock, and let it be kept right: timedatectl set-ntp true (macOS: Date & Time settings)"
    if clocks.wall < clocks.installed_at - _SKEW_MAX_S:
        return problem("clock", "the clock stands before the day when sealmesh was installed", advice)
    ahead = [peer for peer in _peers(status) if any("clock" in str(reason) for reason in _list(peer, "refused"))]
    if ahead:
        return problem(
            "clock", f"{len(ahead)} of the peers are refused because their clock and this one differ", advice
        )
    if clocks.since_boot is not None and clocks.booted_at is not None:
        moved = clocks.wall - clocks.since_boot - clocks.booted_at
        if abs(moved) > _SKEW_MAX_S:
            return warning("clock", f"the clock moved by {moved:.0f} s since the machine started", advice)
    agreed = sum(1 for peer in _peers(status) if peer.get("connected"))
    with_peers = f"; {agreed} connected peers do not disagree" if agreed else ""
    match clocks.synchronised:
        case True:
            return ok("clock", f"plausible, and the kernel says that it is kept synchronised{with_peers}")
        case False:
            return warning(
                "clock", f"plausible, but nothing keeps it synchronised that tells the kernel{with_peers}", advice
            )
        case None:
            return ok("clock", f"plausible; whether it is kept synchronised cannot be seen{with_peers}")


def _peers(status: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    found = (status or {}).get("peers")
    return [peer for peer in found if isinstance(peer, dict)] if isinstance(found, list) else []


def _list(source: Mapping[str, Any], name: str) -> list[Any]:
    value = source.get(name)
    return value if isinstance(value, list) else []


# --- the TPM --------------------------------------------------------------------------------------------------


def check_tpm_access(root: Path = Path("/")) -> Check:
    """Whether there is a TPM 2.0, and whether this user may talk to it.

    Args:
        root: Where `dev` is.
    """
    device, raw = root / "dev/tpmrm0", root / "dev/tpm0"
    if not device.exists():
        if raw.exists():
            return warning(
                "tpm",
                "there is /dev/tpm0 but no /dev/tpmrm0: a TPM 1.2, or a kernel without the resource manager",
                "sealmesh needs TPM 2.0 and the kernel's resource manager",
            )
        return warning(
            "tpm",
            "no TPM is seen; this machine can show a software key only (self-asserted)",
            "turn the TPM (fTPM, PTT) on in the firmware's settings, if the machine has one",
        )
    if os.access(device, os.R_OK | os.W_OK):
        return ok("tpm", "/dev/tpmrm0 can be used")
    found = device.stat()
    try:
        group = grp.getgrgid(found.st_gid).gr_name
    except KeyError:
        group = str(found.st_gid)
    if found.st_mode & stat.S_IRGRP and found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        advice = f"join its group, then log in again: sudo usermod -aG {group} {_user_name()}"
    else:
        advice = "install tpm-udev (Debian, Ubuntu) or tpm2-tss, which give the device to the group tss, then join that"
    return warning("tpm", f"/dev/tpmrm0 is there, and this user may not use it (group {group})", advice)


def _user_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


# --- disk and model -------------------------------------------------------------------------------------------


def check_disk_space(folders: Mapping[str, Path], free: Callable[[Path], int] | None = None) -> Check:
    """Whether there is room where the node writes.

    Args:
        folders: What is kept, and where.
        free: Free bytes at a folder that exists; the system's own answer by default.
    """
    ask = free or (lambda path: shutil.disk_usage(path).free)
    shown, low = [], False
    for what, folder in folders.items():
        place = next(path for path in (folder, *folder.parents) if path.exists())
        room = ask(place)
        low = low or room < _FREE_LOW
        shown.append(f"{what}: {room / 1e9:.1f} GB free")
    found = ", ".join(shown)
    if low:
        return problem("disk", found, f"free some space: less than {_FREE_LOW // MIB} MiB are left")
    return ok("disk", found)


def check_model_file(reference: str | None, cache: Path, known: Mapping[str, PackagedModel] | None = None) -> Check:
    """Whether the model's file is there and is what it should be. Nothing is fetched.

    Args:
        reference: What would be served; None for an engine by its URL.
        cache: Where fetched models live.
        known: Models known by name; those of this version by default.
    """
    known = KNOWN if known is None else known
    if reference is None:
        return ok("model", "an engine by its URL answers: it holds the model itself")
    if reference in known:
        return _check_known(reference, known[reference], cache)
    if reference.startswith("hf:"):
        return ok("model", "a file of a hub: found or fetched, and compared with its hash, when the node starts")
    path = Path(reference).expanduser()
    try:
        with path.open("rb") as file:
            magic = file.read(len(_GGUF))
        if magic != _GGUF:
            return problem("model", f"{path} is no GGUF model", "give --model another file")
        return ok("model", f"{path.name}, SHA-256 {hash_file(path, _quiet).hex()}")
    except OSError as error:
        return problem("model", f"{path} cannot be read ({error.strerror})", "give --model a file that is there")


def _check_known(name: str, model: PackagedModel, cache: Path) -> Check:
    path = cache / Path(model.member).name
    size = f"{model.size // 1_000_000} MB"
    if not path.exists():
        return warning("model", f"{name} is not fetched yet ({size})", "the first `sealmesh serve` fetches it")
    try:
        digest = hash_file(path, _quiet).hex()
    except OSError as error:
        return problem("model", f"{path} cannot be read ({error.strerror})", "let this user read it")
    if digest != model.sha256:
        return problem("model", f"{path} is damaged: SHA-256 {digest}", "delete it; the next start fetches it again")
    return ok("model", f"{name} is there ({size}), SHA-256 {digest} as it should be")


def _quiet(_: object) -> None:
    return None


def guarded(name: str, look: Callable[[], Check]) -> Check:
    """A check that fails in a way that nobody foresaw tells that, and the rest goes on."""
    try:
        return look()
    except (OSError, SealmeshError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        return unknown(name, f"the check itself failed ({why})")
