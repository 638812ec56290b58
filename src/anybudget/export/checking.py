"""Exported forms beside PyTorch: on the same images, before anything is written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from anybudget.data import Split
from anybudget.errors import RunError
from anybudget.export.subject import Subject
from anybudget.storage.records import Checked

Answers = Callable[[Tensor], NDArray[np.float32]]
"""Images uint8 `[N, C, H, W]` to logits `[N, classes]`: what a form computes, preparation included."""

IMAGES = 1000
"""As many images of the test split are compared."""

ROUNDING = 1e-3
"""Logits may differ by this share of the largest one: rounding of sums in another order stays far below."""

FLIPPED_PERCENT = 1.0
"""Of a network with quantisers of its own, so many images may differ by more: rounding may put a value on the next step
of its grid, and what follows goes on from there."""

_BATCH = 100


@dataclass(frozen=True)
class Reference:
    """Images uint8 `[N, C, H, W]` and PyTorch's logits for them `[N, classes]`; `of` says which images they are."""

    images: Tensor
    logits: NDArray[np.float32]
    of: Literal["test", "random"]

    @classmethod
    def to_images(cls, subject: Subject, test: Split | None, count: int = IMAGES) -> Reference:
        """Of the first images of a test split in random order; of random pixels where there is none."""
        if test is None:
            generator = torch.Generator().manual_seed(0)
            images = torch.randint(0, 256, (count, *subject.shape), dtype=torch.uint8, generator=generator)
        else:
            images = test.sample(count, 0).images
        logits = np.concatenate([subject.logits(part).numpy() for part in images.split(_BATCH)])
        return cls(images, logits, "random" if test is None else "test")

    def compared(self, answers: Answers) -> Checked:
        """What a form makes of the same images."""
        found = np.concatenate([answers(part) for part in self.images.split(_BATCH)])
        return self.compared_logits(found)

    def compared_logits(self, found: NDArray[np.float32]) -> Checked:
        """See `compared`; `found` are the form's logits `[N, classes]`.

        Raises:
            RunError: some are not finite.
        """
        if not (np.isfinite(found).all() and np.isfinite(self.logits).all()):
            raise RunError("the network computes logits that are not finite, so nothing is written; retrain it")
        differences = np.abs(found.astype(np.float64) - self.logits).max(1)
        largest = float(np.abs(self.logits).max())
        return Checked(
            images=len(self.images),
            images_of=self.of,
            largest_difference=float(differences.max()),
            largest_logit=largest,
            beyond_rounding=int((~(differences <= ROUNDING * largest)).sum()),
            equal_answers=int((found.argmax(1) == self.logits.argmax(1)).sum()),
        )


def require_equal(checked: Checked, form: str, subject: Subject) -> None:
    """Require that a form computes what PyTorch does.

    Raises:
        RunError: it does not; nothing of it is to be written.
    """
    allowed = int(checked.images * FLIPPED_PERCENT / 100) if subject.is_quantised else 0
    if checked.beyond_rounding > allowed:
        raise RunError(
            f"--to {form}: answers differ from PyTorch's on {checked.beyond_rounding} of {checked.images} images, "
            f"logits by up to {checked.largest_difference:.3g} where the largest is {checked.largest_logit:.3g}; "
            "nothing is written: take another form, or another version of the runtime"
        )
