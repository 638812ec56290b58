"""Data sets of images with boxes, whatever they are stored as."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from anybudget.errors import ConfigError, MissingDataError
from anybudget.transfer.boxes import BoxData
from anybudget.transfer.coco import open_coco
from anybudget.transfer.voc import open_voc


@dataclass(frozen=True, slots=True)
class BoxSource:
    """Where images with boxes are: a JSON file of COCO, or a folder or zip file of Pascal VOC.

    Of COCO, `validation` is a second JSON file, of the images to judge by, and `images` the folder with the images.
    """

    path: Path
    validation: Path | None = None
    images: Path | None = None

    def open(self, fraction: float, seed: int) -> BoxData:
        """The data set; no image is read.

        Args:
            fraction: the share of training images that is drawn to judge by, where none are listed.
            seed: draws it.

        Raises:
            ConfigError: `validation` or `images` was given for VOC data.
            DataError: see `open_coco` and `open_voc`.
        """
        for path in filter(None, (self.path, self.validation, self.images)):
            if not path.exists():
                raise MissingDataError(f"{path}: no such file or folder; give a COCO file (.json) or VOC data")
        if self.path.suffix.lower() == ".json":
            return open_coco(self.path, self.validation, self.images, fraction, seed)
        if self.validation or self.images:
            raise ConfigError(f"--val, --images: belong to COCO files (.json), and {self.path} is none; leave them out")
        return open_voc(self.path, fraction, seed)
