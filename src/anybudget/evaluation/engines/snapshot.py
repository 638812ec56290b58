"""How an evaluator travels to another process: all that its scores depend on, and nothing else."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from anybudget.data import DataSplits, ImageSet, Preparation
from anybudget.evaluation.evaluator import SubnetEvaluator
from anybudget.evaluation.settings import EvaluatorSettings
from anybudget.nets import Supernet

Images = tuple[NDArray[np.uint8], NDArray[np.int64]]
"""Images `[N, C, H, W]` and labels `[N]`."""


@dataclass(frozen=True)
class EvaluatorSnapshot:
    """An evaluator on its way: the supernet on the CPU, and images as arrays, which Ray's processes can share.

    Of the training images it has only those that calibrate, and of the test images none. Sums over threads differ in
    their last bits, so their number comes along.
    """

    supernet: Supernet
    calibration: Images
    validation: Images
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    preparation: Preparation
    batch_size: int
    device: str
    threads: int

    @classmethod
    def pack(cls, evaluator: SubnetEvaluator) -> EvaluatorSnapshot:
        """All of an evaluator, and the number of threads of this process."""
        data, device = evaluator.data, next(evaluator.supernet.parameters()).device
        held = data.validation.subset(torch.arange(len(data.validation)))  # in memory, wherever it lies
        calibration, validation = (
            (images.images.numpy(), images.labels.numpy()) for images in (evaluator.calibration, held)
        )
        return cls(
            supernet=evaluator.supernet if device.type == "cpu" else copy.deepcopy(evaluator.supernet).cpu(),
            calibration=calibration,
            validation=validation,
            class_names=data.class_names,
            mean=data.mean,
            std=data.std,
            preparation=data.preparation,
            batch_size=evaluator.batch_size,
            device=device.type,
            threads=torch.get_num_threads(),
        )

    def unpack(self) -> SubnetEvaluator:
        """An equal evaluator; sets the number of threads of this process."""
        torch.set_num_threads(self.threads)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # arrays in shared memory are read-only; images are never written to
            calibration, validation = (
                ImageSet(torch.from_numpy(images), torch.from_numpy(labels))
                for images, labels in (self.calibration, self.validation)
            )
        no_test = validation.subset(torch.arange(0))
        data = DataSplits(calibration, validation, self.class_names, self.mean, self.std, no_test, self.preparation)
        settings = EvaluatorSettings(calibration_images=0, batch_size=self.batch_size)
        evaluator = SubnetEvaluator(self.supernet.to(self.device), data, settings)
        evaluator.calibration = calibration  # drawn already; their order decides the last bits
        return evaluator

    @property
    def size(self) -> int:
        """Bytes of images and weights: nearly all that is sent."""
        arrays = sum(array.nbytes for array in (*self.calibration, *self.validation))
        return arrays + sum(int(tensor.nbytes) for tensor in self.supernet.state_dict().values())
