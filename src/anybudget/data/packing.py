"""Packing a folder of images into tar files, which a disk or a network reads faster than many small files: `pack`."""

from __future__ import annotations

import io
import tarfile
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from anybudget.data.folders import listed_files
from anybudget.data.images import GREY_MODES, REDUCED, Target, bounded, header, is_deep, upright
from anybudget.data.shards import CLASSES, LABEL
from anybudget.errors import DataError, reason
from anybudget.runtime.progress import Progress, SilentProgress
from anybudget.storage.files import UNFINISHED, write_whole

SHARD_BYTES = 256 * 10**6
"""About how large a tar file becomes."""

QUALITY = 92
"""Of JPEGs that are written."""


@dataclass(frozen=True)
class Packed:
    """What has been packed: images, tar files, and bytes."""

    images: int
    shards: int
    size: int


def pack(
    folder: Path,
    out: Path,
    *,
    side: int | None = None,
    shard_bytes: int = SHARD_BYTES,
    progress: Progress | None = None,
) -> Packed:
    """Pack class folders of images into tar files of the WebDataset layout, `KEY.jpg` with its class in `KEY.cls`.

    Shards are called after the part, `train-000000.tar`, or `images-000000.tar` where there is one part; the names of
    the classes are in `classes.txt`. They are read like the folder: with the same images in the same splits.

    Args:
        folder: as `data.source` of a recipe.
        out: a folder that is empty or not there.
        side: the shorter side of larger images is scaled to so many pixels, and all are stored as JPEGs; None stores
            the very files.
        shard_bytes: about how large a tar file becomes.
        progress: told how far it is.

    Raises:
        DataError: the folder is no data set, an image cannot be read, or `out` cannot be written or is not empty.
    """
    parts = listed_files(folder)
    try:
        out.mkdir(parents=True, exist_ok=True)
        if any(out.iterdir()):
            raise DataError(f"{out}: is not empty: give a new folder")
        total = sum(len(files) for classes in parts.values() for files in classes.values())
        shards = size = 0
        with (progress or SilentProgress()).task(f"pack {folder}", total) as task, bounded():
            for part, classes in parts.items():
                writer = _Shards(out, part or "images", shard_bytes)
                for label, (name, files) in enumerate(classes.items()):
                    for file in files:
                        stem, content = (file.name, file.read_bytes()) if side is None else _scaled(file, side)
                        writer.add(f"{name}/{stem}", content, label)
                        task.advance()
                writer.close()
                shards, size = shards + writer.count, size + writer.size
        names = next(iter(parts.values()))
        write_whole(out / CLASSES, "".join(f"{name}\n" for name in names).encode("utf-8", "surrogateescape"))
    except OSError as error:
        raise DataError(f"{error.filename or out}: cannot be packed ({reason(error)}): look at the disk") from None
    return Packed(total, shards, size)


class _Shards:
    """The tar files of a part, written one after the other; one that is not finished has no name of a tar file."""

    def __init__(self, out: Path, part: str, most: int) -> None:
        self._out, self._part, self._most = out, part, most
        self.count = self.size = 0
        self._written = 0
        self._archive: tarfile.TarFile | None = None

    def add(self, name: str, content: bytes, label: int) -> None:
        """Add an image with its class."""
        if self._archive is None:
            self._archive = tarfile.TarFile(self._path(UNFINISHED), "w", format=tarfile.PAX_FORMAT)
        folder, _, file = name.rpartition("/")
        for member, held in ((name, content), (f"{folder}/{file.partition('.')[0]}{LABEL}", str(label).encode())):
            info = tarfile.TarInfo(member)
            info.size, info.mode = len(held), 0o644
            self._archive.addfile(info, io.BytesIO(held))
        self._written += len(content)
        if self._written >= self._most:
            self.close()

    def close(self) -> None:
        """Finish the present tar file."""
        if self._archive is None:
            return
        self._archive.close()
        done = self._path("")
        self._path(UNFINISHED).replace(done)
        self.count, self.size = self.count + 1, self.size + done.stat().st_size
        self._archive, self._written = None, 0

    def _path(self, suffix: str) -> Path:
        return self._out / f"{self._part}-{self.count:06d}.tar{suffix}"


def _scaled(file: Path, side: int) -> tuple[str, bytes]:
    """An image as a JPEG whose shorter side has at most so many pixels: the name of the file and its content."""
    mode, _ = header(file)
    if is_deep(mode):
        raise DataError(f"{file}: has more than 8 bits, which JPEGs have not: pack without --side")
    image = upright(file, Target(1 if mode in GREY_MODES else 3, None), REDUCED * side)
    shorter = min(image.size)
    if shorter > side:
        width, height = (max(1, round(length * side / shorter)) for length in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    held = io.BytesIO()
    image.save(held, "JPEG", quality=QUALITY)
    return f"{file.stem}.jpg", held.getvalue()
