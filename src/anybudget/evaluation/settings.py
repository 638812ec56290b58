"""`EvaluatorSettings`: how an evaluator calibrates and forwards; declared here once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EvaluatorSettings:
    """How architectures are evaluated.

    Args:
        calibration_images: how many training images calibrate, 2 or more; all where there are fewer. 0: none, norms use
            the running statistics that `record_statistics` gathered over many paths.
        batch_size: how many validation images are forwarded at once.
        seed: draws the calibration images.
        balanced: calibration images have equally many of each class, give or take one, until a class has no more.
    """

    calibration_images: int = 1024
    batch_size: int = 512
    seed: int = 0
    balanced: bool = False
