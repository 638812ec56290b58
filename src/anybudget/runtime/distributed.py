"""Data-parallel training: the device, the precision, and the processes that share each batch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor, nn

from anybudget.errors import ConfigError
from anybudget.runtime.batch_parts import batch_problem

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


class Processes:
    """Data-parallel training by one process on one device in full precision: what training uses if given no other.

    All processes draw the same batches and paths from the same seeds, and each trains on its share of every batch. So
    all have the same state at every step, whatever their number, and a run may resume with another number of them.
    """

    def __init__(self, device: torch.device | None = None) -> None:
        self.device = device or torch.device("cpu")
        self.rank = 0
        self.count = 1

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch [B, ...], such as the indices of its images."""
        return batch[self.rank :: self.count]

    def check_batch(self, size: int, accumulate: int = 1, paths: int = 1) -> None:
        """Check that a batch can be shared out evenly, each share be cut among paths, and forwarded in parts.

        Raises:
            ConfigError: it cannot; see `batch_problem`.
        """
        problem = batch_problem(size, self.count, accumulate, paths)
        if problem:
            raise ConfigError(problem)

    def optimiser(self, optimiser: torch.optim.Optimizer) -> Any:
        """The optimiser as the precision needs it."""
        return optimiser

    def precision(self) -> AbstractContextManager[Any]:
        """Within, forwards are computed in the chosen precision."""
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss to the parameters."""
        loss.backward()

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace the gradients of those parameters that have one by their mean over the processes.

        All processes must have gradients of the same parameters.
        """

    def average_used_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient by its mean over those processes that used the parameter; they may differ in which.

        A parameter is used where it has a gradient, be it 0: as behind a ReLU that lets nothing pass. Of a parameter
        that a path used a slice of, the rest has the gradient 0. Parameters that no process used have no gradient
        afterwards.
        """

    def clip_gradients(self, model: nn.Module, optimiser: Any, norm: float) -> None:  # noqa: ARG002 - see Fabric's
        """Scale the gradients of a model down to this norm, of all of them together, where it is greater.

        `optimiser` is what `optimiser` gave, with the parameters of the model.
        """
        nn.utils.clip_grad_norm_(model.parameters(), norm)

    def mean(self, values: Sequence[float]) -> list[float]:
        """Numbers averaged over the processes."""
        return list(values)

    def same(self, value: T) -> T:
        """The main process's value, everywhere."""
        return value

    def state_dict(self) -> dict[str, Any]:
        """What the precision keeps from step to step, such as the scale of the loss."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore such a state."""


class FabricProcesses(Processes):
    """Processes, device and precision by Lightning Fabric.

    Gradients are averaged here, not by DistributedDataParallel: every step uses only the parameters of its paths, which
    all processes know, so that nobody has to look for unused ones; and one reduction of one flat tensor does it.

    Args:
        device: `auto`, `cpu`, `cuda`, `mps`, or for a single process one device by its index, such as `cuda:1`.
        devices: how many processes a machine runs, each with a device (or a part of the cores); under torchrun as many
            as it has started.
        nodes: how many machines there are; under torchrun as many as it knows.
        precision: `32-true`, `bf16-mixed`, `16-mixed`, or what else Fabric offers.

    Raises:
        ConfigError: the device is not there, or these do not go together.
    """

    def __init__(self, device: str = "auto", *, devices: int = 1, nodes: int = 1, precision: str = "32-true") -> None:
        from lightning_fabric import Fabric

        local, world = (int(os.environ.get(name, "0")) for name in ("LOCAL_WORLD_SIZE", "WORLD_SIZE"))
        if local and world:
            devices, nodes = local, world // local
        kind, _, index = device.partition(":")
        if index and kind != "cpu" and devices > 1:
            raise ConfigError(
                f"device: {device} is one device, and there are {devices} processes on this machine that need one each "
                f"(devices, or torchrun's --nproc-per-node); take device = {kind}, or one process"
            )
        try:
            self._fabric: Fabric = Fabric(
                accelerator=kind,
                devices=[int(index)] if index and kind != "cpu" else devices,
                num_nodes=nodes,
                strategy="ddp" if devices * nodes > 1 else "auto",
                precision=precision,  # type: ignore[arg-type]
            )
            self._fabric.launch()
        except (ValueError, RuntimeError) as error:
            raise ConfigError(
                f"device {device}, devices {devices}, nodes {nodes}, precision {precision}: {error}"
            ) from None
        super().__init__(self._fabric.device)
        self.rank, self.count = self._fabric.global_rank, self._fabric.world_size

    def optimiser(self, optimiser: torch.optim.Optimizer) -> Any:
        """See `Processes.optimiser`."""
        return self._fabric.setup_optimizers(optimiser)

    def precision(self) -> AbstractContextManager[Any]:
        """See `Processes.precision`."""
        return self._fabric.autocast()

    def backward(self, loss: Tensor) -> None:
        """See `Processes.backward`."""
        self._fabric.backward(loss)

    def average_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """See `Processes.average_gradients`."""
        if self.count == 1:
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        total = self._summed(gradients)
        for gradient, part in zip(gradients, total, strict=True):
            gradient.copy_(part / self.count)

    def average_used_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """See `Processes.average_used_gradients`."""
        if self.count == 1:
            return
        trained = [parameter for parameter in parameters if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in trained]
        users = torch.tensor([float(p.grad is not None) for p in trained], device=self.device)
        torch.distributed.all_reduce(users)
        for parameter, total, count in zip(trained, self._summed(gradients), users.tolist(), strict=True):
            parameter.grad = total / count if count else None

    def clip_gradients(self, model: nn.Module, optimiser: Any, norm: float) -> None:
        """See `Processes.clip_gradients`; gradients of a scaled loss are scaled back first."""
        # One that is not finite is the loss scaler's affair, or is met in the next loss.
        self._fabric.clip_gradients(model, optimiser, max_norm=norm, error_if_nonfinite=False)

    def _summed(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The sum of each tensor over the processes, by one reduction of a flat one."""
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        torch.distributed.all_reduce(flat)
        parts = flat.split([tensor.numel() for tensor in tensors])
        return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]

    def mean(self, values: Sequence[float]) -> list[float]:
        """See `Processes.mean`."""
        if self.count == 1:
            return list(values)
        numbers = torch.tensor(values, dtype=torch.float64 if self.device.type != "mps" else torch.float32)
        numbers = numbers.to(self.device)
        torch.distributed.all_reduce(numbers)
        return [float(number) for number in numbers / self.count]

    def same(self, value: T) -> T:
        """See `Processes.same`."""
        return self._fabric.broadcast(value)

    def state_dict(self) -> dict[str, Any]:
        """See `Processes.state_dict`."""
        return self._fabric._precision.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Processes.load_state_dict`."""
        self._fabric._precision.load_state_dict(state)
