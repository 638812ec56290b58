"""Memory that runs out is explained, and smaller parts of a batch train on the same images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from anybudget.errors import TrainingError
from anybudget.runs.stages import supernet as supernet_stage
from anybudget.runs.work import as_memory_error
from conftest import open_run


def test_memory_that_runs_out_is_explained(recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_run(recipe_file, tmp_path / "run")
    monkeypatch.setattr(supernet_stage, "train_supernet", lambda *_args, **_options: torch.empty(1 << 55))
    with pytest.raises(TrainingError, match=r"out of memory .*lower batch_size, or raise accumulate"):
        run.train_supernet()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("could not create a primitive"),
        RuntimeError("could not create a primitive descriptor for a convolution forward propagation primitive"),
        RuntimeError("could not create a memory object"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried to"),
        RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("CUDA error: out of memory"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB)"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
    ids=str,
)
def test_every_message_of_missing_memory_is_explained(error: Exception) -> None:
    advice = "lower batch_size, or raise accumulate.*search.calibration_images"
    with pytest.raises(TrainingError, match=f"out of memory .*{advice}"), as_memory_error():
        raise error


def test_other_errors_are_not_taken_for_missing_memory() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), as_memory_error():
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


def test_accumulating_trains_on_the_same_batches(recipe_file: Path, tmp_path: Path) -> None:
    """Two parts of a batch give the gradients of the whole but for the norms, which see a part at a time."""
    for parts in (1, 2):
        open_run(recipe_file, tmp_path / str(parts), f"supernet.accumulate={parts}").train_supernet()
    rows = [(tmp_path / str(parts) / "supernet.csv").read_text().splitlines()[1].split(",") for parts in (1, 2)]
    assert float(rows[0][1]) == pytest.approx(float(rows[1][1]), rel=0.1)
    assert rows[0][1] != rows[1][1]
