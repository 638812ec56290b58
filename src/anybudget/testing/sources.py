"""The check that a data source keeps to what training and evaluation rely on."""

from __future__ import annotations

import torch

from anybudget.data import DataSource, Split


def check_source(source: DataSource) -> None:
    """Check a data source: its attributes, and that its splits give the same images however they are asked for.

    Reads a few dozen images of each split, and all of them once if the source does not say its own `listing`.

    Raises:
        AssertionError: says what is wrong.
    """
    channels = source.input_shape[0]
    assert len(source.class_names) >= 2, "a source needs two classes"
    assert len(set(source.class_names)) == len(source.class_names), "class_names has a name twice"
    assert len(source.mean) == len(source.std) == channels, f"mean and std need {channels} values"
    assert min(source.std) > 0, "std must be positive: 1 for a constant channel"
    for name, split in (("train", source.train), ("validation", source.validation), ("test", source.test())):
        _check_split(name, split, source)
    found = sorted(source.train.labels.unique().tolist())
    assert found == list(range(source.classes)), f"train has the labels {found}, and needs every class"
    assert source.listing() == source.listing(), "listing() gives another one every time"


def _check_split(name: str, split: Split, source: DataSource) -> None:
    labels = split.labels
    assert labels.dtype == torch.int64, f"{name}: labels are {labels.dtype}, and must be int64"
    assert labels.ndim == 1, f"{name}: labels have shape {list(labels.shape)}, and must be [N]"
    assert len(labels) >= 2, f"{name}: needs two images or more"
    assert 0 <= int(labels.min()) <= int(labels.max()) < source.classes, f"{name}: labels lie outside 0 to classes - 1"
    order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))[:24]
    images = split.read(order)
    assert images.dtype == torch.uint8, f"{name}: read() gives {images.dtype}, and must give uint8"
    shape = (len(order), *source.input_shape)
    assert tuple(images.shape) == shape, f"{name}: read() gives {list(images.shape)}, and must give {list(shape)}"
    assert images.is_contiguous(), f"{name}: read() gives images that are not contiguous"
    kept = images.clone()
    images.zero_()
    assert torch.equal(split.read(order), kept), f"{name}: read() gives other images the second time"
    for place in (0, len(order) - 1):
        alone = split.read(order[place : place + 1])
        assert torch.equal(alone[0], kept[place]), f"{name}: an image read alone is another than among others"
    later = split.in_epoch(2)
    assert torch.equal(later.labels, labels), f"{name}: in_epoch() gives other labels"
    assert torch.equal(split.in_epoch(2).read(order), later.read(order)), f"{name}: in_epoch() gives other images again"
    parts = order.split(7)
    together = torch.cat(list(split.read_batches(parts)))
    assert torch.equal(together, kept), f"{name}: read_batches() gives other images than read()"
