"""What it takes to give a trained network images: classes, normalisation and preparation, as `data.json` keeps them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn

from anybudget.data.identity import Draw, Kind, Listing
from anybudget.data.images import Target, UndecodableError, bounded, decode
from anybudget.data.preparation import UNCHANGED, Preparation, normalise, resize
from anybudget.data.protocol import DataSource
from anybudget.errors import DataError, shown

FORMAT, VERSION = "anybudget data", 1
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
        return {
            "format": FORMAT,
            "version": VERSION,
            "classes": self.classes,
            "class_names": None if self.class_names is None else list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
            "pixel_scale": PIXEL_SCALE,
            **self.preparation.to_dict(),
            "stored": self.stored,
            "digest": self.digest,
            "splits": self.draw.digest,
            "left_out": list(self.draw.left_out),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """Read `to_dict`'s form; `where` names the file in errors.

        Raises:
            DataError: a key is missing, or a value cannot be used.
        """
        if (values.get("format"), values.get("version")) != (FORMAT, VERSION):
            raise DataError(f"{where}: no description of data of this version of anybudget")
        keys = [field.name for field in fields(Preparation)]
        missing = [key for key in (*_EXPECTED, *keys) if key not in values]
        if missing:
            raise DataError(f"{where}: lacks {', '.join(missing)}")
        preparation = {key: values[key] for key in keys}
        wrong = [key for key, fits in _EXPECTED.items() if not fits(values[key])]
        wrong += [key for key in ("channels", "height", "width") if not _is_count(preparation[key])]
        if not wrong:
            wrong = [key for key in ("mean", "std") if len(values[key]) != preparation["channels"]]
            names = values["class_names"]
            wrong += ["class_names"] if names is not None and len(names) != values["classes"] else []
        if wrong:
            raise DataError(f"{where}: {wrong[0]} cannot be {shown(values[wrong[0]])}")
        if preparation.get("value_range") is not None:
            preparation["value_range"] = tuple(preparation["value_range"])
        return cls(
            None if values["class_names"] is None else tuple(values["class_names"]),
            values["classes"],
            tuple(map(float, values["mean"])),
            tuple(map(float, values["std"])),
            Preparation(**preparation),
            values["stored"],
            values["digest"],
            Draw(values["splits"], tuple(values["left_out"])),
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


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 < value < 2**31


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def _is_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(type(n) in (int, float) and math.isfinite(n) for n in value)


_EXPECTED: Mapping[str, Callable[[Any], bool]] = {
    "classes": _is_count,
    "class_names": lambda value: value is None or _is_texts(value),
    "mean": _is_numbers,
    "std": lambda value: _is_numbers(value) and all(number > 0 for number in value),
    "pixel_scale": lambda value: value == PIXEL_SCALE,
    "stored": lambda value: value in ("files", "arrays"),
    "digest": lambda value: isinstance(value, str),
    "splits": lambda value: isinstance(value, str),
    "left_out": _is_texts,
}
"""Whether the value of a key can be used."""
