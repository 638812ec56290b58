"""The journal of a search: every score as it comes, so that a search that was killed is resumed."""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anybudget.errors import RunError
from anybudget.reading import UnreadableError, parse_json, read_bytes, unreadable_as
from anybudget.runtime.signals import StopRequest
from anybudget.storage.changes import conflict
from anybudget.storage.files import append_whole, write_whole

log = logging.getLogger(__name__)

MAGIC = "anybudget journal"
VERSION = 2
"""Raised whenever the same settings give other scores: 2 calibrates norms on all images as one batch."""

Entry = tuple[tuple[int, ...], Mapping[str, float]]
"""The choices of an architecture, and what is known of it."""


class Journal:
    """Scores in a file that grows by a line for each, synchronised to disk as they come.

    A search is a function of its seed and of the scores, so nothing else has to be kept: run again with a journal, it
    takes the same way and finds every score there until it comes to where it was killed.

    Args:
        path: the file.
        settings: everything that decides the scores; a journal with others is never resumed.
        request: whether the process has been asked to stop.
        work: what it is the journal of, in messages.
        writes: whether the file may be written; if not, what is added is kept in memory. Of several processes of one
            run that search at the same time only one writes.

    Raises:
        RunError: the journal is of other settings, which are listed, or cannot be read.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        request: StopRequest | None = None,
        work: str = "a search",
        writes: bool = True,
    ) -> None:
        self.path, self._work, self._writes = path, work, writes
        self.settings = json.loads(json.dumps(settings))  # as it is read back
        self.request = request or StopRequest()
        self.entries: dict[tuple[int, ...], Mapping[str, float]] = {}
        self._begun = path.exists()
        if self._begun:
            self._read()

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep what is known of some architectures.

        Raises:
            RunError: the file cannot be written.
        """
        new = list(entries)
        if self._writes:
            if not self._begun:
                write_whole(self.path, self._header())
                self._begun = True
            append_whole(self.path, b"".join(_line(choices, known) for choices, known in new))
        self.entries.update(new)

    def stop_if_asked(self) -> None:
        """End the search here if it has been asked to; all scores are on disk.

        Raises:
            Stopped: it has.
        """
        self.request.check()

    def clear(self) -> None:
        """Remove the file: the search is done and its results are written."""
        self.path.unlink(missing_ok=True)

    def _header(self) -> bytes:
        return json.dumps({"format": MAGIC, "version": VERSION, "settings": self.settings}).encode() + b"\n"

    def _read(self) -> None:
        found = read(self.path)
        otherwise = conflict(found.settings, self.settings)
        if otherwise:
            raise RunError(f"{self.path}: {self._work} with {otherwise}")
        self.entries = found.entries
        if found.lost and self._writes:  # to others it may look so while the last line is being written
            log.warning(
                "%s: damaged from line %d on; %d scores before that are kept, later ones are evaluated again",
                self.path,
                len(found.whole) + 1,
                len(self.entries),
            )
            write_whole(self.path, b"".join(found.whole))


@dataclass(frozen=True, slots=True)
class Contents:
    """What a journal file holds: settings, the scores up to the first damaged line, and the `whole` lines before that.

    `lost` is the number of lines from there on.
    """

    settings: dict[str, Any]
    entries: dict[tuple[int, ...], Mapping[str, float]]
    whole: list[bytes]
    lost: int


def read(path: Path) -> Contents:
    """What a journal file holds; the file is not touched.

    Raises:
        RunError: it cannot be read, or does not begin like a journal of this version.
    """
    with unreadable_as(RunError, path, "cannot be read"):
        lines = read_bytes(path).splitlines(keepends=True)
    try:
        header = parse_json(lines[0])
        known = header["format"] == MAGIC and header["version"] == VERSION
        settings = header["settings"]
        known = known and isinstance(settings, dict)
    except (UnreadableError, KeyError, TypeError, IndexError):
        known, settings = False, {}
    if not known:
        raise RunError(f"{path}: damaged, or no journal of this version; delete it to start this search anew")
    entries: dict[tuple[int, ...], Mapping[str, float]] = {}
    whole = 1
    for line in lines[1:]:
        entry = _parse(line)
        if entry is None:
            break
        entries[entry[0]] = entry[1]
        whole += 1
    return Contents(settings, entries, lines[:whole], len(lines) - whole)


def _line(choices: Sequence[int], known: Mapping[str, float]) -> bytes:
    text = json.dumps([list(choices), dict(known)])
    return f"{zlib.crc32(text.encode()):08x} {text}\n".encode()


def _parse(line: bytes) -> Entry | None:
    """What `_line` wrote; None if it is damaged."""
    checksum, _, text = line.rstrip(b"\n").partition(b" ")
    try:
        if not line.endswith(b"\n") or int(checksum, 16) != zlib.crc32(text):
            return None
        choices, known = parse_json(text)
        return tuple(int(choice) for choice in choices), {str(name): float(value) for name, value in known.items()}
    except (ValueError, TypeError, AttributeError):  # a checksum that fits, and yet not ours
        return None
