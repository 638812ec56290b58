"""Reading architectures of a space from JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError, reason
from anybudget.spaces.base import SearchSpace


def read_architectures(path: Path, space: SearchSpace) -> list[Architecture]:
    """Read architectures of `space` from a file; each once, in order.

    The file holds an architecture, an object with the key "architecture" such as `anybudget generate --json` prints,
    a list of either, or JSON lines of either, such as `candidates.jsonl`.

    Raises:
        ArchitectureError: the file is missing, no JSON, or holds something else.
    """
    try:
        entries = _entries(path)
    except (OSError, ValueError, RecursionError) as error:
        raise ArchitectureError(
            f"{path}: cannot read an architecture: {reason(error)}; give a JSON file such as anybudget generate --json "
            "prints, or JSON lines such as candidates.jsonl"
        ) from None
    if not entries:
        raise ArchitectureError(f"{path}: the list is empty; expected at least one architecture")
    found: dict[Architecture, None] = {}
    for source, entry in entries:
        inner = entry["architecture"] if isinstance(entry, dict) and "architecture" in entry else entry
        architecture = Architecture.from_dict(inner, source)
        try:
            space.validate(architecture)
        except ArchitectureError as error:
            raise ArchitectureError(f"{source}: {error}") from None
        found[architecture] = None
    return list(found)


def _entries(path: Path) -> list[tuple[str, Any]]:
    """Every value of the file, and where it stands.

    Raises:
        ArchitectureError: a line of JSON lines is no JSON.
    """
    text = path.read_text(encoding="utf-8")
    try:
        data = json.loads(text)
    except json.JSONDecodeError:
        lines = [(f"{path}, line {n}", line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if len(lines) < 2 or not _is_object(lines[0][1]):
            raise
        return [(source, _line(source, line)) for source, line in lines]
    if isinstance(data, list):
        return [(f"{path}, entry {number}", entry) for number, entry in enumerate(data, start=1)]
    return [(str(path), data)]


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _line(source: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ArchitectureError(f"{source}: not JSON: {reason(error)}; mend or remove that line") from None
