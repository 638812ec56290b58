"""Map-style data sets whose images stay where they are: the source that reads them item by item."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import torch

from anybudget.data.arrays import PartName, StoredPart, labels_of_parts
from anybudget.data.datasets import DatasetImages, MapDataset, labels_of, pair, pixels_of
from anybudget.data.identity import Entry, Listing, digest_of_images, listing_of_arrays
from anybudget.data.sources import KEPT_SHARE, DataSettings, Source, image_bytes
from anybudget.errors import DataError
from anybudget.runtime.memory import free_bytes

AT_ONCE = 128
"""Images that are read at a time to tell the data set from others."""


def stays(parts: Mapping[PartName, MapDataset], settings: DataSettings) -> bool:
    """Whether images stay where they are: as the settings say, or because they take more than there is room for.

    Raises:
        DataError: a part is empty, or the first item is no image with a label.
    """
    for part, dataset in parts.items():
        if not len(dataset):
            raise DataError(f"the {part} data set is empty: give one with images")
    if settings.reading.keep != "auto":
        return settings.reading.keep == "disk"
    first = pixels_of("training item 0", pair("training", parts["training"], 0)[0], settings.image_size)
    channels, height, width = first.shape
    wanted = image_bytes(sum(map(len, parts.values())), (channels, height, width)) * first.element_size()
    return wanted * settings.reading.processes > KEPT_SHARE * free_bytes()


def source_of_datasets(
    parts: Mapping[PartName, MapDataset], settings: DataSettings, class_names: tuple[str, ...] | None
) -> Source:
    """A source of map-style data sets, of whose images none is kept. Its listing is that of the same images in memory.

    Raises:
        DataError: labels cannot be used, or images do not have 8 bits.
    """
    nothing = np.empty(0, np.uint8)
    stored = [
        StoredPart(f"{part} images", nothing, f"{part} labels", labels_of(part, dataset))
        for part, dataset in parts.items()
    ]
    counts = [len(dataset) for dataset in parts.values()]
    names, labels = labels_of_parts("from_dataset", stored, counts, class_names)
    images = DatasetImages(
        {str(part): dataset for part, dataset in parts.items()}, torch.cat(labels), settings.image_size
    )
    chosen = dict(zip(parts, torch.arange(sum(counts)).split(counts), strict=True))

    @cache
    def listing() -> Listing:
        found = listing_of_arrays(names, {})
        entries = []
        for (part, places), part_labels in zip(chosen.items(), labels, strict=True):
            chunks = (images.read(some).numpy() for some in places.split(AT_ONCE))
            digest = digest_of_images((len(places), *images.shape), chunks)
            entries.append(Entry(f"{part} images", len(places), digest))
            of_labels = listing_of_arrays(names, {part: (part_labels.numpy(), part_labels.numpy())})
            entries += [entry for entry in of_labels.entries if entry.name == f"{part} labels"]
        return Listing(found.kind, found.classes, tuple(sorted(entries)))

    return Source(
        names,
        images,
        chosen["training"],
        listing,
        validation=chosen.get("validation"),
        test=chosen.get("test"),
    )
