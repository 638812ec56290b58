"""How much memory this process may still take: of the machine and, in a container, of its limit."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil

_GROUPS = (
    ("memory.max", "memory.current", "memory.stat"),  # version 2 of Linux's control groups
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "memory/memory.stat"),
)


def free_bytes(groups: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that are free, the disk cache counted as free; `groups` is where Linux says limits of containers."""
    return min(psutil.virtual_memory().available, *(_within(groups, *names) for names in _GROUPS))


def _within(folder: Path, limit: str, usage: str, statistics: str) -> int:
    """What the limit of a control group leaves; more than any machine has where there is none."""
    with suppress(OSError, ValueError):
        allowed, used = (int((folder / name).read_text(encoding="ascii")) for name in (limit, usage))
        lines = (line.split() for line in (folder / statistics).read_text(encoding="ascii").splitlines())
        cached = {name: int(value) for name, value in lines}.get("inactive_file", 0)
        return max(0, allowed - used + cached)
    return 2**62
