"""Writing to disk: which process does it, and that a file is there whole or not at all, whatever interrupts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from anybudget.errors import RunError

UNFINISHED = ".unfinished"
"""How the names of temporary files end; a kill leaves them behind."""


def remove_unfinished(folder: Path) -> None:
    """Remove what kills have left behind, where nobody else is writing."""
    for path in folder.rglob(f".*{UNFINISHED}"):
        path.unlink(missing_ok=True)


def is_main_process() -> bool:
    """Whether this process writes files and prints: the first of those that train together, or the only one.

    Told from the environment that torchrun, SLURM and Fabric's own launcher set, so that it is known before any of
    them has been joined.
    """
    for name in ("RANK", "SLURM_PROCID"):
        if name in os.environ and (name == "RANK" or os.environ.get("SLURM_NTASKS", "1") != "1"):
            return os.environ[name] == "0"
    return os.environ.get("LOCAL_RANK", "0") == "0" and os.environ.get("NODE_RANK", "0") == "0"


def write_whole(path: Path, content: bytes, *, previous: Path | None = None) -> Path:
    """Write a file by way of a temporary one beside it, synchronised to disk before it takes the name.

    Args:
        path: the file; missing folders are made.
        content: all of it.
        previous: where the file that has the name now is kept, instead of being replaced.

    Raises:
        RunError: the disk is full, the folder cannot be written, or the like; what was there is untouched.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = _temporary(path)
        _fill(temporary, content)
        if previous is not None and path.exists():
            path.replace(previous)
        temporary.replace(path)
        _synchronise(path.parent)
    except OSError as error:
        raise RunError(f"{path}: cannot write: {error.strerror or error}; {remedy(error)}") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
    return path


def write_together(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write several files into a folder, all of them or none: they take their names when all are on the disk.

    A kill between two of the names, which takes no time, is the one thing that leaves some of them.

    Raises:
        RunError: the disk is full, the folder cannot be written, or the like; what was there is untouched.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    waiting: dict[Path, Path] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            waiting[folder / name] = _temporary(folder / name)
            _fill(waiting[folder / name], content)
        for path, temporary in waiting.items():
            temporary.replace(path)
        _synchronise(folder)
    except OSError as error:
        for temporary in waiting.values():
            temporary.unlink(missing_ok=True)
        for path in made:  # the innermost first; those that hold something are passed over
            with suppress(OSError):
                path.rmdir()
        raise RunError(f"{folder}: cannot write: {error.strerror or error}; {remedy(error)}") from None


def append_whole(path: Path, content: bytes) -> None:
    """Add to the end of a file and synchronise it to disk; a kill may leave a part, which readers have to notice.

    Raises:
        RunError: the disk is full, the folder cannot be written, or the like.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise RunError(f"{path}: cannot write: {error.strerror or error}; {remedy(error)}") from None


def _temporary(path: Path) -> Path:
    """A new file beside `path`, empty."""
    import tempfile  # here, since it takes part of the time in which help appears, which asks who is the main process

    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=UNFINISHED)
    os.close(descriptor)
    return Path(name)


def _fill(path: Path, content: bytes) -> None:
    """Write all of a file, synchronised to disk."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)


def _synchronise(folder: Path) -> None:
    """Make a rename survive a power cut, where the system lets folders be synchronised."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:  # pragma: no cover - not on every system
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remedy(error: OSError) -> str:
    """What helps against an error while writing, as the end of a message."""
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "free some space and run the same command again; what was written before is intact"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "make the folder writable, or choose another with --out"
    return "nothing that was there is damaged"
