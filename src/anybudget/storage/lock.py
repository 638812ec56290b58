"""Who is at work in a run folder: what the lock says, and the file beside it."""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path

from anybudget.reading import UnreadableError, parse_object, read_bytes


def is_locked(path: Path) -> bool | None:
    """Whether some process has locked a file; None where this system does not tell."""
    try:
        import fcntl

        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except (ImportError, OSError):  # pragma: no cover - not on every system
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return True if error.errno in (errno.EACCES, errno.EAGAIN) else None
    finally:
        os.close(descriptor)
    return False


def has_ended(path: Path) -> bool:
    """Whether the process that says in a file to have locked a run folder has ended, without having taken that back."""
    import psutil

    try:
        found = parse_object(read_bytes(path))
        if found["host"] != platform.node():
            return False
        return psutil.Process(int(found["process"])).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (OSError, UnreadableError, KeyError, TypeError, ValueError, psutil.Error):
        return False


def holder_of(path: Path) -> str:
    """Who has locked a run folder, as far as is known."""
    try:
        found = parse_object(read_bytes(path))
        return f"process {found['process']} on {found['host']}: {found['command']}"
    except (OSError, UnreadableError, KeyError):
        return "it has not said which"
