"""Data sets in plain tar files, the layout of WebDataset: members are found once, and read by where they begin."""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

import numpy as np

from anybudget.data.files import ImageFiles, PackedNames, check_file
from anybudget.data.identity import Entry, Listing, in_byte_order, normal
from anybudget.data.images import ImageFile, is_image
from anybudget.data.layout import ValRole, check_classes, entries, part_named, settle_val
from anybudget.data.looking import Listed, source_of_files
from anybudget.data.sources import FolderSettings, Source
from anybudget.errors import DataError, reason, shown

CLASSES = "classes.txt"
"""Beside the shards: the names of the classes, one a line, in the order of the numbers in `.cls` members."""

LABEL = ".cls"
"""What the name of a member ends in that holds the class of an image: its number, or its name."""

LONGEST_LABEL = 4096
"""Bytes of such a member."""


@dataclass(frozen=True, slots=True)
class Member:
    """An image within a tar file: its name there, and where its bytes are."""

    shard: Path
    name: str
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.shard}: {self.name}"

    def open(self, _mode: Literal["rb"], /) -> BinaryIO:
        """Its bytes; see `ImageFile`."""
        with self.shard.open("rb") as file:
            file.seek(self.offset)
            return io.BytesIO(file.read(self.size))


def has_shards(folder: Path) -> bool:
    """Whether a folder holds tar files."""
    return any(_is_shard(entry) for entry in entries(folder))


def open_shards(root: Path, image_size: int | None, skip_unreadable: int, settings: FolderSettings) -> Source:
    """Read the tar files of a folder.

    A shard belongs to the part that its name begins with (`train-000000.tar`, `val-…`, `test-…`); where none does, all
    are the training part. The class of an image `KEY.jpg` is what the member `KEY.cls` says, or the folder that it is
    in within the tar file. Everything else is as in `open_folder`.

    Raises:
        DataError: a shard is damaged, an image has no class, parts have different classes, or as in `open_folder`.
    """
    return source_of_files(in_shards(root, settings.val), image_size, skip_unreadable, settings)


def list_shards(root: Path) -> Listing:
    """What is in the shards of a folder, without opening an image.

    The listing is that of the folder of class folders that they were packed from.

    Raises:
        DataError: as in `open_shards`.
    """
    return in_shards(root).listing()


@dataclass(frozen=True)
class _InShards(Listed):
    """Members of tar files."""

    root: Path
    parts: dict[str, dict[str, list[Member]]]
    notices: tuple[str, ...]
    prefixes: dict[str, str]

    def __str__(self) -> str:
        return str(self.root)

    def relative(self, file: ImageFile) -> str:
        """See `Listed.relative`."""
        assert isinstance(file, Member)
        prefix = self.prefixes[_prefix(file.shard)]
        return f"{prefix}/{file.name}" if prefix else file.name

    def class_place(self, part: str, name: str) -> str:
        """See `Listed.class_place`."""
        return f"{self.root}: class {name!r} of the {part} part"

    def files(self, files: list[Member]) -> MemberFiles:
        """See `Listed.files`."""
        return MemberFiles(files)

    def listing(self) -> Listing:
        """See `Listed.listing`."""
        found = [
            Entry(normal(self.relative(member)), member.size, normal(name))
            for classes in self.parts.values()
            for name, members in classes.items()
            for member in members
        ]
        return Listing("files", tuple(map(normal, self.parts["train"])), in_byte_order(found))


class MemberFiles(ImageFiles):
    """Members of tar files, in little memory."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._shards = sorted({member.shard for member in members})
        number = {shard: place for place, shard in enumerate(self._shards)}
        self._names = PackedNames(member.name for member in members)
        self._places = np.array([(number[m.shard], m.offset, m.size) for m in members], "<i8").reshape(-1, 3)
        found = [shard.stat() for shard in self._shards]
        self._sizes = [stat.st_size for stat in found]
        self._times = [stat.st_mtime_ns for stat in found]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, index: int) -> Member:
        shard, offset, size = self._places[index].tolist()
        return Member(self._shards[shard], self._names[index], offset, size)

    def check(self, index: int) -> None:
        """See `ImageFiles.check`."""
        shard = int(self._places[index, 0])
        check_file(self._shards[shard], self._sizes[shard])

    @property
    def state(self) -> str:
        """See `ImageFiles.state`."""
        found = hashlib.sha256(self._names.digest.encode() + self._places.tobytes())
        for shard, size, time in zip(self._shards, self._sizes, self._times, strict=True):
            found.update(f"{shard.name} {size} {time}\n".encode(errors="surrogateescape"))
        return found.hexdigest()


def _is_shard(file: Path) -> bool:
    return file.suffix.lower() == ".tar" and file.is_file()


def _prefix(shard: Path) -> str:
    """What the name of a shard begins with, without its number."""
    return re.sub(r"[-_]?\d*$", "", shard.stem)


def in_shards(root: Path, val: ValRole = "validation") -> _InShards:
    """All images of the shards of a folder, class by class in each part."""
    shards = [entry for entry in entries(root) if _is_shard(entry)]
    part_of = {shard: part_named(_prefix(shard)) for shard in shards}
    notices = []
    if "train" not in part_of.values():
        part_of, prefixes = dict.fromkeys(shards, "train"), {_prefix(shard): "" for shard in shards}
    else:
        unused = [shard.name for shard, part in part_of.items() if part is None]
        if unused:
            notices.append(f"{root}: not used beside the shards of parts: {', '.join(unused)}")
        prefixes = {_prefix(shard): _prefix(shard) for shard in shards}
    names = _class_names(root)
    found: dict[str, list[tuple[str, Member]]] = {}
    for shard, part in part_of.items():
        if part is not None:
            found.setdefault(part, []).extend(_images(shard, names))
    notices += settle_val(found, val, str(root), {"train": "train", "validation": "val"})
    parts = {
        part: _by_class(images, names) for part, images in sorted(found.items(), key=lambda item: item[0] != "train")
    }
    check_classes(str(root), parts)
    if not parts["train"]:
        raise DataError(f"{root}: its tar files hold no image that Pillow opens")
    return _InShards(root, parts, tuple(notices), prefixes)


def _by_class(images: Sequence[tuple[str, Member]], names: Sequence[str]) -> dict[str, list[Member]]:
    """Images of each class; classes in the order of `names`, of their numbers, or as folders are sorted; images too."""
    classes: dict[str, list[Member]] = {}
    for name, member in images:
        classes.setdefault(name, []).append(member)
    if all(name in names for name in classes):
        order = sorted(classes, key=names.index)
    elif all(name.isdecimal() for name in classes):
        order = sorted(classes, key=int)
    else:
        order = sorted(classes, key=_bytes)
    return {name: sorted(classes[name], key=lambda member: _bytes(member.name)) for name in order}


def _bytes(text: str) -> bytes:
    return normal(text).encode(errors="surrogateescape")


def _class_names(root: Path) -> list[str]:
    """The names of `classes.txt`; none without one."""
    try:
        return [line for line in (root / CLASSES).read_text(encoding="utf-8").splitlines() if line]
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        way_out = "write the names of the classes, one a line"
        raise DataError(f"{root / CLASSES}: cannot be read ({reason(error)}): {way_out}") from None


def _images(shard: Path, names: Sequence[str]) -> Iterator[tuple[str, Member]]:
    """Every image of a shard with the name of its class."""
    labels: dict[str, str] = {}
    members: list[Member] = []
    try:
        with tarfile.open(shard, "r:") as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # or all of them would be kept
                path = PurePosixPath(info.name)
                if not info.isfile() or path.name.startswith("."):
                    continue
                if path.suffix == LABEL:
                    labels[_key(path)] = _label(shard, info, archive, names)
                elif is_image(Path(path.name)):
                    members.append(Member(shard, path.as_posix(), info.offset_data, info.size))
    except (OSError, tarfile.TarError, EOFError) as error:
        raise DataError(f"{shard}: no tar file, or a truncated one ({reason(error)}): write it again") from None
    size = shard.stat().st_size
    for member in members:
        if member.offset + member.size > size:
            raise DataError(f"{member}: reaches beyond the end of the file, which is truncated: write it again")
        path = PurePosixPath(member.name)
        name = labels.get(_key(path)) or path.parent.name
        if not name:
            way_out = f"add a member {_key(path)}{LABEL}, or put it into a folder of its class"
            raise DataError(f"{member}: has no class: {way_out}")
        yield name, member


def _key(path: PurePosixPath) -> str:
    """What the members of one sample have in common: the path up to the first dot of the name."""
    return (path.parent / path.name.partition(".")[0]).as_posix()


def _label(shard: Path, info: tarfile.TarInfo, archive: tarfile.TarFile, names: Sequence[str]) -> str:
    """The name of a class as a member says it."""
    opened = archive.extractfile(info)
    assert opened is not None
    text = opened.read(LONGEST_LABEL).decode(errors="replace").strip()
    if not text:
        raise DataError(f"{shard}: {info.name}: is empty: write the number of the class, or its name")
    if not text.isdecimal():
        return text
    if not names:
        return text
    if int(text) >= len(names):
        raise DataError(f"{shard}: {info.name}: holds the class {shown(text)}, and {CLASSES} has {len(names)} names")
    return names[int(text)]
