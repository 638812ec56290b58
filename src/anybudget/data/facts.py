"""What it takes to give a trained network images: classes, normalisation and preparation, as `data.json` keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from anybudget.data.identity import Draw, Kind, Listing
from anybudget.data.images import Target, UndecodableError, bounded, decode
from anybudget.data.preparation import UNCHANGED, Preparation, normalise, resize
from anybudget.data.protocol import DataSource
from anybudget.errors import DataError
from anybudget.storage.records import DataRecord, checked
from anybudget.storage.records.data import FORMAT, VERSION

PIXEL_SCALE = 255


@dataclass(frozen=True)
class DataFacts:
    """What a network was trained on, and how an image file becomes its input: the same numbers that training used.

    `class_names` are in the order of the logits, None where the data set has no names; `mean` and `std` are per
    channel: `(pixel / 255 - mean) / std`. `stored` says whether images were read from files or from arrays,
    which are resized by Pillow and by torch; `digest` and `draw` say which images these were, and which of them were
    trained on.
    """

    class_names: tuple[str, ...] | None
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preparation: Preparation
    stored: Kind
    digest: str
    draw: Draw

    @classmethod
    def of(cls, listing: Listing, data: DataSource) -> Self:
        """The facts of loaded data, of which `listing` says what they are."""
        draw = data.draw or Draw("")  # a source that draws nothing
        nameless = listing.kind == "arrays" and data.class_names == tuple(map(str, range(data.classes)))
        names = None if nameless else data.class_names
        return cls(names, data.classes, data.mean, data.std, data.preparation, listing.kind, listing.digest, draw)

    def settings(self) -> dict[str, str]:
        """What of them decides results: which data these are, and which of them were trained on."""
        return {"digest": self.digest, "splits": self.draw.digest}

    def to_dict(self) -> dict[str, Any]:
        """Plain data, as `data.json` has them."""
        record = {
            "format": FORMAT,
            "version": VERSION,
            "classes": self.classes,
            "class_names": self.class_names,
            "mean": self.mean,
            "std": self.std,
            "pixel_scale": PIXEL_SCALE,
            **self.preparation.to_dict(),
            "stored": self.stored,
            "digest": self.digest,
            "splits": self.draw.digest,
            "left_out": self.draw.left_out,
        }
        return DataRecord.model_validate(record).to_json()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str, way_out: str = "") -> Self:
        """Read `to_dict`'s form; `where` names the file in errors, which end with `way_out`.

        Raises:
            RunError: a key is missing, a value cannot be used, or a newer version has written it.
        """
        return cls.from_record(checked(dict(values), DataRecord, where, way_out))

    @classmethod
    def from_record(cls, record: DataRecord) -> Self:
        """The facts of `data.json`."""
        preparation = {field.name: getattr(record, field.name) for field in fields(Preparation)}
        return cls(
            record.class_names,
            record.classes,
            tuple(map(float, record.mean)),
            tuple(map(float, record.std)),
            Preparation(**preparation),
            record.stored,
            record.digest,
            Draw(record.splits, record.left_out),
        )

    def read(self, file: str | Path) -> Tensor:
        """One image file as training would have read it: uint8 [C, H, W].

        Raises:
            DataError: it cannot be decoded, or has another size and images are not resized.
        """
        path = Path(file)
        size = None if self.preparation.resize == UNCHANGED else self.preparation.height
        decoded = size if self.stored == "files" else None  # arrays are resized below
        try:
            with bounded():
                image = decode(path, Target(self.preparation.channels, decoded, self.preparation.value_range))
        except UndecodableError as error:
            raise DataError(f"{error.said}: give an image file that Pillow opens") from None
        image = resize(image.unsqueeze(0), size)[0]
        wanted = (self.preparation.height, self.preparation.width)
        if image.shape[1:] != wanted:
            raise DataError(
                f"{path}: is {image.shape[2]}×{image.shape[1]} pixels, and the network takes {wanted[1]}×{wanted[0]}: "
                "give an image of that size"
            )
        return image

    def prepare(self, *files: str | Path) -> Tensor:
        """Image files as the input of the network: normalised float32 [N, C, H, W].

        Raises:
            DataError: a file cannot be used.
        """
        return normalise(torch.stack([self.read(file) for file in files]), self.mean, self.std)

    def classify(self, network: nn.Module, file: str | Path) -> dict[str, float]:
        """The probability of each class for an image file, the most probable first.

        Keys are class names, or the numbers of the classes from 0 where they have no names.

        Raises:
            DataError: the file cannot be used.
        """
        device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
        with torch.inference_mode():
            probabilities = network(self.prepare(file).to(device))[0].float().softmax(0).tolist()
        names = self.class_names or tuple(map(str, range(self.classes)))
        pairs = sorted(zip(names, probabilities, strict=True), key=lambda pair: -pair[1])
        return dict(pairs)
