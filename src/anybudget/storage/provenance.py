"""Where numbers come from: seed, versions, code revision, machine and command."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

VERSIONED = ("anybudget", "torch", "numpy", "scipy", "pillow")
"""Packages whose version may change a result."""


def command() -> str:
    """The command of this process."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


def provenance(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Seed, versions, code revision and machine: what it takes to say where numbers come from."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": recipe.get("seed"),
        "command": command(),
        "git_commit": _git_commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        **{f"{name}_version": package_version(name) for name in (*VERSIONED, "safetensors")},
    }


def package_version(package: str) -> str:
    """The version of an installed package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _git_commit() -> str:
    """The revision of the source tree this package runs from; an installed copy has none."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return answer.stdout.strip()
