"""Compiles the C files of this folder once on a machine, with the C compiler that is there, and loads them."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

log = logging.getLogger(__name__)

SOURCES = sorted(Path(__file__).parent.glob("*.[ch]"))

SWITCH = "ANYBUDGET_KERNELS"
"""Set to "pytorch", nothing is compiled, loaded or captured: training computes with PyTorch's layers as they are."""

_FLAGS = ("-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")

_TUNINGS = (("-march=native",), ("-mcpu=native",), ())
"""For this processor, as compilers say it; the first that a compiler takes."""

_SECONDS = 120.0
"""That a compiler may take."""


class Kernels(NamedTuple):
    """The compiled kernels, or None, and where they lie or why there are none."""

    library: ctypes.CDLL | None
    said: str
    name: str = "PyTorch's"
    """Tells kernels that may round otherwise: those of another compiler, processor or version have another name."""


def plain_operators() -> bool:
    """Whether the environment asks for PyTorch's own operators."""
    return os.environ.get(SWITCH, "").lower() == "pytorch"


def library() -> ctypes.CDLL | None:
    """The compiled kernels; None where they cannot be had."""
    return found().library


@cache
def found() -> Kernels:
    """The compiled kernels, made if need be; a notice says why where they cannot be had."""
    if plain_operators():
        return Kernels(None, f"PyTorch's, as {SWITCH} says")
    try:
        path = _compiled()
        return Kernels(ctypes.CDLL(str(path)), f"compiled, {path}", path.stem)
    except _NoKernelsError as error:
        why = str(error)
    except OSError as error:
        why = f"the compiled ones cannot be loaded ({error})"
    log.info("training computes with PyTorch's own kernels: %s", why)
    return Kernels(None, f"PyTorch's: {why}")


def looked_for() -> bool:
    """Whether this process has asked for the kernels."""
    return found.cache_info().currsize > 0


class _NoKernelsError(Exception):
    """Why there are no compiled kernels."""


def _compiled() -> Path:
    """The shared library, made if it has not been made before."""
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))), None)
    if compiler is None or os.name != "posix":
        raise _NoKernelsError("there is no C compiler (CC, cc, gcc, clang)")
    why = "no folder can be written"
    for folder in _folders():
        path = folder / f"kernels-{_digest(compiler)}.so"
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not _is_ours(folder):
                continue
            if not (path.exists() and _is_ours(path)):
                _compile(compiler, path)
            return path
        except OSError as error:
            why = str(error)
    raise _NoKernelsError(why)


def _folders() -> Iterator[Path]:
    with suppress(RuntimeError):  # there may be no home
        yield Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "anybudget"
    yield Path(tempfile.gettempdir()) / f"anybudget-{os.getuid()}"


def _is_ours(path: Path) -> bool:
    """Whether nobody else can have put something there."""
    found = path.stat()
    return found.st_uid == os.getuid() and not found.st_mode & 0o022


def _digest(compiler: str) -> str:
    """Of all that decides what is compiled: another processor, compiler or source gets a file of its own."""
    said = (os.path.realpath(compiler), *_FLAGS, _processor())
    parts = [*(source.read_bytes() for source in SOURCES), *(text.encode() for text in said)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    """The processor and what it can do."""
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        said = ("vendor_id", "model name", "flags", "Features", "CPU part")
        return "\n".join(sorted({line for line in lines if line.startswith(said)}))
    return platform.platform() + platform.processor()


def _compile(compiler: str, path: Path) -> None:
    """Write the shared library, whole or not at all: several processes may do it at once."""
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        target, complaint = Path(work) / path.name, ""
        for tuning in _TUNINGS:
            sources = [str(source) for source in SOURCES if source.suffix == ".c"]
            command = [compiler, *_FLAGS, *tuning, "-o", str(target), *sources, "-lm"]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
            except subprocess.TimeoutExpired as error:
                raise _NoKernelsError(f"{compiler} took more than {_SECONDS:.0f} s") from error
            if done.returncode == 0:
                target.chmod(0o700)
                target.replace(path)
                return
            complaint = next(iter(done.stderr.strip().splitlines()), f"exit code {done.returncode}")
    raise _NoKernelsError(f"{compiler} cannot compile them ({complaint})")
