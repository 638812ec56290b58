"""What tells one data set from another, found without decoding an image: `Listing` and `Draw`, and how two differ."""

from __future__ import annotations

import gzip
import hashlib
import json
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from anybudget.errors import DataError, reason, shorten
from anybudget.reading import parse_json

FORMAT, VERSION = "anybudget listing", 1

Kind = Literal["files", "arrays"]


class Entry(NamedTuple):
    """One image file, or one array.

    `name` is the path of a file below the data set, with "/" on every system, or what an array is ("training images").
    `size` is in bytes (-1 where a file cannot be looked at), or the number of images. `mark` is the class of a file, or
    the SHA-256 of an array's content.
    """

    name: str
    size: int
    mark: str


@dataclass(frozen=True)
class Listing:
    """Everything that tells a data set from another: classes in order, and its files or arrays.

    Files count with path, size and class, so that a listing costs no more than to look at a folder; a copy elsewhere,
    on another system too, has an equal listing, whatever its times say. A file that was changed and kept its size is
    not noticed. Arrays count with their content. Entries are sorted by the bytes of their names.
    """

    kind: Kind
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the listing, in hexadecimal."""
        found = hashlib.sha256()
        for line in self._lines():
            found.update(line)
        return found.hexdigest()

    def pack(self) -> bytes:
        """The listing as a gzipped file of JSON lines; equal listings give equal bytes."""
        return gzip.compress(b"".join(self._lines()), 6, mtime=0)

    @classmethod
    def unpack(cls, content: bytes, where: str) -> Listing:
        """Read what `pack` wrote; `where` names the file in errors.

        Raises:
            DataError: it is damaged, or no listing.
        """
        try:
            header, *rows = (parse_json(line) for line in gzip.decompress(content).splitlines())
            if (header["format"], header["version"]) != (FORMAT, VERSION):
                raise ValueError("not a listing of this version of anybudget")
            if header["kind"] not in ("files", "arrays"):
                raise ValueError(f"unknown kind {header['kind']!r}")
            entries = tuple(Entry(str(name), int(size), str(mark)) for name, size, mark in rows)
            return cls(header["kind"], tuple(map(str, header["classes"])), entries)
        except (OSError, EOFError, zlib.error, ValueError, TypeError, KeyError, IndexError) as error:
            raise DataError(f"{where}: damaged, or no listing of a data set ({reason(error)})") from None

    def _lines(self) -> Iterator[bytes]:
        header = {"format": FORMAT, "version": VERSION, "kind": self.kind, "classes": self.classes}
        yield json.dumps(header).encode() + b"\n"
        for entry in self.entries:
            yield json.dumps(entry).encode() + b"\n"


@dataclass(frozen=True, slots=True)
class Draw:
    """Which images are in which split: `digest` tells two draws apart.

    `left_out` are the files that were passed over, relative to the data set, with "/" on every system.
    """

    digest: str
    left_out: tuple[str, ...] = ()


def listing_of_files(root: Path, classes: Sequence[str], files: Iterator[tuple[Path, str]]) -> Listing:
    """The listing of image files below `root`, each with the name of its class."""
    entries = [Entry(normal(file.relative_to(root).as_posix()), _size(file), normal(name)) for file, name in files]
    return Listing("files", tuple(map(normal, classes)), in_byte_order(entries))


def in_byte_order(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Entries as a listing has them: sorted by the bytes of their names."""
    return tuple(sorted(entries, key=lambda entry: (_bytes(entry.name), entry)))


def listing_of_arrays(classes: Sequence[str], parts: Mapping[str, tuple[NDArray[Any], NDArray[Any]]]) -> Listing:
    """The listing of a training part and perhaps others, whatever kind of file they were stored in.

    Args:
        classes: their names, in the order of the labels.
        parts: the images of each part as they were stored, [N, ...], and its labels [N].
    """
    entries = []
    for part, (images, labels) in parts.items():
        for array, what in ((images, "images"), (labels, "labels")):
            entries.append(Entry(f"{part} {what}", len(labels), _digest(array)))
    return Listing("arrays", tuple(classes), tuple(sorted(entries)))


def digest_of_images(shape: Sequence[int], chunks: Iterable[NDArray[np.uint8]]) -> str:
    """What an array of uint8 images of this shape [N, C, H, W] has as its mark in a listing, from its parts in turn."""
    found = hashlib.sha256(json.dumps(["|u1", list(shape)]).encode())
    for chunk in chunks:
        found.update(np.ascontiguousarray(chunk).data)
    return found.hexdigest()


def what_differs(before: Listing, after: Listing) -> str:
    """In what a data set differs from what it was, in words; "" if in nothing."""
    if before.kind != after.kind:
        kinds = {"files": "image files", "arrays": "arrays"}
        return f"it held {kinds[before.kind]}, and holds {kinds[after.kind]} now"
    said = list(_classes(before.classes, after.classes))
    old, new = ({entry.name: entry for entry in listing.entries} for listing in (before, after))
    both = [name for name in new if name in old]
    if before.kind == "arrays":
        said += [_array(old[name], new[name]) for name in both if old[name] != new[name]]
        said += [f"the {name} were added" for name in new if name not in old]
        said += [f"the {name} are missing" for name in old if name not in new]
        return "; ".join(said)
    for names, one, several in (
        ([name for name in new if name not in old], "was added", "were added"),
        ([name for name in old if name not in new], "is missing", "are missing"),
        ([name for name in both if old[name].size != new[name].size], "changed size", "changed size"),
        ([name for name in both if old[name].mark != new[name].mark], "changed class", "changed class"),
    ):
        if len(names) == 1:
            said.append(f"1 image {one}: {shorten(names[0])}")
        elif names:
            said.append(f"{len(names)} images {several}, such as {shorten(names[0])}")
    return "; ".join(said)


def _digest(array: NDArray[Any]) -> str:
    """SHA-256 of the type, shape and content of an array, whatever the byte order of the machine."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    found = hashlib.sha256(json.dumps([plain.dtype.str, plain.shape]).encode())
    found.update(plain.data)
    return found.hexdigest()


def _classes(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    added, gone = ([name for name in a if name not in b] for a, b in ((after, before), (before, after)))
    if added:
        yield f"classes were added: {shorten(', '.join(added))}"
    if gone:
        yield f"classes are missing: {shorten(', '.join(gone))}"
    if not added and not gone and before != after:
        yield f"the order of classes changed: {shorten(', '.join(before))} -> {shorten(', '.join(after))}"


def _array(before: Entry, after: Entry) -> str:
    count = "" if before.size == after.size else f" ({before.size} -> {after.size} images)"
    return f"the {before.name} changed{count}"


def in_order(entries: Iterable[Path]) -> list[Path]:
    """The entries of one folder, sorted by the bytes of their names: in the same order on every system.

    Splits are drawn from this order, and `Path` itself ignores case on Windows.
    """
    return sorted(entries, key=lambda entry: (_bytes(normal(entry.name)), entry.name))


def names_in_order(names: Iterable[str]) -> list[str]:
    """Names of classes in the order that folders of these names have, see `in_order`."""
    return sorted(names, key=lambda name: (_bytes(normal(name)), name))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def normal(text: str) -> str:
    """Text in the form that is the same on every system: macOS takes letters with accents apart."""
    return unicodedata.normalize("NFC", text)


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # a link that leads nowhere: no image, but a part of what is there
        return -1
