"""Weights in safetensors files; nothing is unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from anybudget.errors import RunError, reason, shown

if TYPE_CHECKING:
    from torch import Tensor, nn


def digest_of(module: nn.Module) -> str:
    """The SHA-256 of all weights and statistics, in hexadecimal."""
    found = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        found.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def read_weights(path: Path, module: nn.Module, way_out: str, *, described_by: str) -> None:
    """Read weights into `module`; nothing is unpickled.

    Args:
        path: a safetensors file.
        module: takes them.
        way_out: how messages end.
        described_by: what `module` was built from.

    Raises:
        RunError: the file is missing, damaged, of another network, or holds what is no weight.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(path.read_bytes())
    except FileNotFoundError:
        raise RunError(f"{path}: missing; {way_out}") from None
    except KeyError as error:  # a number type of safetensors that torch has not
        raise RunError(f"{path}: damaged: unknown number type {error}; {way_out}") from None
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path}: damaged or not safetensors: {reason(error)}; {way_out}") from None
    fill(module, tensors, str(path), way_out, described_by=described_by)


def fill(module: nn.Module, tensors: Mapping[str, Tensor], where: str, way_out: str, *, described_by: str) -> None:
    """Put weights that were read from `where` into `module`; see `read_weights`.

    Raises:
        RunError: they are of another network, or no weights.
    """
    problem = _misfit(tensors, module.state_dict(), f"weights of another network than {described_by} describes")
    if problem:
        raise RunError(f"{where}: {problem}; {way_out}")
    module.load_state_dict(dict(tensors))


def _misfit(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], other: str) -> str:
    """Why tensors cannot be the weights of a network with those of `expected`; "" if they can."""
    missing = [name for name in expected if name not in found]
    if missing:
        return f"{other}: {len(missing)} of {len(expected)} tensors are missing, the first {missing[0]}"
    unknown = [name for name in found if name not in expected]
    if unknown:
        return f"{other}: {len(unknown)} tensors too many, the first {shown(unknown[0])}"
    for name, tensor in expected.items():
        if found[name].shape != tensor.shape:
            return f"{other}: the tensor {name} is {list(found[name].shape)}, expected {list(tensor.shape)}"
        # torch would convert these, and compute with them, without a word.
        if found[name].dtype != tensor.dtype:
            return f"damaged: the tensor {name} holds {found[name].dtype}, expected {tensor.dtype}"
        if not found[name].isfinite().all():
            return f"damaged: the tensor {name} holds numbers that are not finite"
    return ""
