"""Reading architectures of a space from JSON files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError
from anybudget.reading import UnreadableError, parse_json, read_text, unreadable_as
from anybudget.spaces.base import SearchSpace


def read_architectures(path: Path, space: SearchSpace) -> list[Architecture]:
    """Read architectures of `space` from a file; each once, in order.

    The file holds an architecture, an object with the key "architecture" such as `anybudget generate --json` prints,
    a list of either, or JSON lines of either, such as `candidates.jsonl`.

    Raises:
        ArchitectureError: the file is missing, no JSON, or holds something else.
    """
    with unreadable_as(
        ArchitectureError,
        path,
        "cannot read an architecture",
        "give a JSON file such as anybudget generate --json prints, or JSON lines such as candidates.jsonl",
    ):
        entries = _entries(path)
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
        OSError: the file cannot be opened.
        UnreadableError: it is neither JSON nor JSON lines.
    """
    text = read_text(path)
    try:
        data = parse_json(text)
    except UnreadableError as error:
        lines = [(f"{path}, line {n}", line) for n, line in enumerate(text.split("\n"), start=1) if line.strip()]
        if not error.syntax or len(lines) < 2 or not _is_object(lines[0][1]):
            raise
        return [(source, _line(source, line)) for source, line in lines]
    if isinstance(data, list):
        return [(f"{path}, entry {number}", entry) for number, entry in enumerate(data, start=1)]
    return [(str(path), data)]


def _is_object(text: str) -> bool:
    try:
        return isinstance(parse_json(text), dict)
    except UnreadableError:
        return False


def _line(source: str, text: str) -> Any:
    with unreadable_as(ArchitectureError, source, "not JSON", "mend or remove that line"):
        return parse_json(text)
