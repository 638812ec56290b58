"""What looking at every image of a data set has found, kept in a file, so that it is done once: `DataIndex`."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import PIL

from anybudget.errors import AnyBudgetError
from anybudget.reading import UnreadableError, parse_object, read_text
from anybudget.storage.files import write_whole

log = logging.getLogger(__name__)

FORMAT, VERSION = "anybudget index", 1


@dataclass(frozen=True)
class Findings:
    """What the images of a data set have in common, and which are left out; see `Source`."""

    channels: int
    height: int
    width: int
    value_range: tuple[float, float] | None
    left_out: tuple[str, ...]
    notices: tuple[str, ...]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what `asdict` gave and JSON has kept."""
        found = values["value_range"]
        return cls(
            int(values["channels"]),
            int(values["height"]),
            int(values["width"]),
            None if found is None else (float(found[0]), float(found[1])),
            tuple(map(str, values["left_out"])),
            tuple(map(str, values["notices"])),
        )


class DataIndex:
    """What is known of a data set in the state that `key` says; of another state, nothing.

    Args:
        path: the file; None keeps nothing.
        key: what findings depend on: the files with their sizes and times, and the settings that they are read with.
        writes: whether the file may be written.
    """

    def __init__(self, path: Path | None, key: Mapping[str, Any], *, writes: bool = True) -> None:
        self._path, self._writes = path, writes
        said = {"version": VERSION, "pillow": PIL.__version__, **key}
        self._key = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
        self._values = self._read()

    def findings(self) -> Findings | None:
        """What the images have in common, if it is known."""
        try:
            return Findings.from_dict(self._values["findings"])
        except (KeyError, TypeError, ValueError, IndexError):
            return None

    def counts(self, draw: str) -> list[list[int]] | None:
        """How often each channel of the training images has each of 256 values, if that is known for this draw.

        All images have then been decoded once, and none was found that cannot be.
        """
        found = self._values.get("counts")
        if self._values.get("draw") != draw or not isinstance(found, list):
            return None
        whole = all(len(row) == 256 and all(type(value) is int for value in row) for row in found)
        return found if found and whole else None

    def note(self, findings: Findings, draw: str, counts: list[list[int]]) -> None:
        """Keep all that has been found."""
        self._values = {"findings": asdict(findings), "draw": draw, "counts": counts}
        if self._path is None or not self._writes:
            return
        content = {"format": FORMAT, "key": self._key, **self._values}
        try:
            write_whole(self._path, json.dumps(content).encode())
        except AnyBudgetError as error:
            log.warning("%s; images are looked at again the next time", error)

    def _read(self) -> dict[str, Any]:
        """The content of the file where it is of this key; nothing otherwise."""
        if self._path is None or not self._path.exists():
            return {}
        try:
            values = parse_object(read_text(self._path))
        except (OSError, UnreadableError) as error:
            log.warning("%s: cannot be read (%s); images are looked at again", self._path, error)
            return {}
        same = values.get("format") == FORMAT and values.get("key") == self._key
        return values if same else {}
