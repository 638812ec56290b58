"""Owns reading architectures of a space from JSON files."""

from __future__ import annotations

import json
from pathlib import Path

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, reason
from anybudget.spaces.base import SearchSpace


def read_architectures(path: Path, space: SearchSpace) -> list[Architecture]:
    """Read architectures of `space` from a JSON file.

    The file holds an architecture, an object with the key "architecture" such as `anybudget generate --json` prints,
    or a list of either.

    Raises:
        ArchitectureError: the file is missing, no JSON, or holds something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ArchitectureError(
            f"{path}: cannot read an architecture: {reason(error)}; give a JSON file such as anybudget generate --json "
            "prints"
        ) from None
    entries = data if isinstance(data, list) else [data]
    if not entries:
        raise ArchitectureError(f"{path}: the list is empty; expected at least one architecture")
    found = []
    for number, entry in enumerate(entries, start=1):
        source = f"{path}, entry {number}" if isinstance(data, list) else str(path)
        inner = entry["architecture"] if isinstance(entry, dict) and "architecture" in entry else entry
        architecture = Architecture.from_dict(inner, source)
        try:
            space.validate(architecture)
        except ArchitectureError as error:
            raise ArchitectureError(f"{source}: {error}") from None
        found.append(architecture)
    return found
