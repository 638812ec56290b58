"""What runs networks: `Runtime`, a class for each of ONNX Runtime, OpenVINO and PyTorch, in one registry."""

from __future__ import annotations

import io
import pickle
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from anybudget.errors import ConfigError
from anybudget.registry import Registry
from anybudget.runtime.optional import optional

if TYPE_CHECKING:
    from torch import nn


_RANGED = 8
"""Images of random numbers from which the ranges of activations are taken, where only time matters."""


@dataclass(frozen=True, slots=True)
class Conditions:
    """How networks run: on `device` cpu or cuda, with so many threads, `batch` images at once."""

    device: str = "cpu"
    threads: int = 1
    batch: int = 1


class Runtime(ABC):
    """One way to run a network. A new one is registered in `RUNTIMES`; it travels to a process of its own by pickle.

    `prepare` makes of a block what `session` runs, and `join` of blocks one after the other a network, so that each
    distinct block is converted once.
    """

    name: ClassVar[str]
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    @property
    @abstractmethod
    def version(self) -> str:
        """Of the library.

        Raises:
            ConfigError: it is not installed; says what to install.
        """

    @abstractmethod
    def prepare(self, module: nn.Module, shape: tuple[int, ...]) -> bytes:
        """A module that takes `[N, *shape]`, as this runtime runs it.

        Raises:
            ConfigError: what converts it is not installed.
        """

    @abstractmethod
    def join(self, blocks: Sequence[bytes]) -> bytes:
        """Blocks that feed one another as one network."""

    @abstractmethod
    def session(self, model: bytes, shape: tuple[int, ...], conditions: Conditions) -> Callable[[], object]:
        """A model ready to run once, on `conditions.batch` images of random numbers.

        Raises:
            ConfigError: the device is not there.
        """

    def quantise(self, model: bytes, shape: tuple[int, ...]) -> bytes:  # noqa: ARG002 - for those that can
        """A network as int8.

        Raises:
            ConfigError: this runtime is measured in single precision only.
        """
        raise ConfigError(f"--precision int8: {self.name} is measured in fp32 only; take --runtime onnxruntime")

    @property
    def clock(self) -> Callable[[], float]:
        """What tells the seconds that runs take."""
        return time.perf_counter

    def check(self, device: str) -> None:
        """Check that it is installed and knows the device.

        Raises:
            ConfigError: it is not, or does not.
        """
        _ = self.version
        if device not in self.devices:
            raise ConfigError(f"--device {device}: {self.name} measures on {' or '.join(self.devices)}")


class OnnxBased(Runtime):
    """A runtime that reads ONNX models."""

    def prepare(self, module: nn.Module, shape: tuple[int, ...]) -> bytes:
        """See `Runtime.prepare`."""
        from anybudget.export.onnx_model import to_onnx

        return bytes(to_onnx(module, shape).SerializeToString())

    def join(self, blocks: Sequence[bytes]) -> bytes:
        """See `Runtime.join`."""
        from anybudget.latency.joining import joined

        return joined(blocks)


class OnnxRuntime(OnnxBased):
    """ONNX Runtime with all of its graph optimisations."""

    name = "onnxruntime"
    devices = ("cpu", "cuda")

    @property
    def version(self) -> str:
        """See `Runtime.version`."""
        return str(_library("onnxruntime", "onnx").__version__)

    def quantise(self, model: bytes, shape: tuple[int, ...]) -> bytes:
        """See `Runtime.quantise`; as `anybudget export --to int8` does it, but for the ranges, which take no time."""
        import onnx

        from anybudget.export.quantisation import static_int8

        read = onnx.load_from_string(model)
        found = static_int8(read, [{read.graph.input[0].name: images(shape, _RANGED)}])
        return bytes(found.SerializeToString())

    def session(self, model: bytes, shape: tuple[int, ...], conditions: Conditions) -> Callable[[], object]:
        """See `Runtime.session`."""
        library = _library("onnxruntime", "onnx")
        options = library.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = conditions.threads, 1
        options.log_severity_level = 3
        provider = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}[conditions.device]
        if provider not in library.get_available_providers():
            raise ConfigError(
                f"--device {conditions.device}: this ONNX Runtime has no {provider}; pip install onnxruntime-gpu"
            )
        session = library.InferenceSession(model, options, providers=[provider])
        name, x = session.get_inputs()[0].name, images(shape, conditions.batch)
        return lambda: session.run(None, {name: x})


class OpenVino(OnnxBased):
    """OpenVINO on a CPU, set for latency, in single precision."""

    name = "openvino"

    @property
    def version(self) -> str:
        """See `Runtime.version`."""
        return str(_library("openvino", "openvino").__version__).partition("-")[0]

    def session(self, model: bytes, shape: tuple[int, ...], conditions: Conditions) -> Callable[[], object]:
        """See `Runtime.session`."""
        library = _library("openvino", "openvino")
        core = library.Core()
        read = core.read_model(model)
        read.reshape([conditions.batch, *shape])
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": conditions.threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        request = core.compile_model(read, "CPU", settings).create_infer_request()
        x = images(shape, conditions.batch)
        return lambda: request.infer([x])


class Torch(Runtime):
    """PyTorch as it is, without compiling."""

    name = "torch"
    devices = ("cpu", "cuda")

    @property
    def version(self) -> str:
        """See `Runtime.version`."""
        import torch

        return str(torch.__version__).partition("+")[0]

    def prepare(self, module: nn.Module, shape: tuple[int, ...]) -> bytes:  # noqa: ARG002 - any shape will do
        """See `Runtime.prepare`."""
        return pickle.dumps(module.cpu().eval())

    def join(self, blocks: Sequence[bytes]) -> bytes:
        """See `Runtime.join`."""
        from torch import nn

        return pickle.dumps(nn.Sequential(*map(pickle.loads, blocks)).eval())

    def session(self, model: bytes, shape: tuple[int, ...], conditions: Conditions) -> Callable[[], object]:
        """See `Runtime.session`."""
        import torch

        if conditions.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("--device cuda: PyTorch finds no CUDA device; take --device cpu")
        torch.set_num_threads(conditions.threads)
        network = pickle.load(io.BytesIO(model)).to(conditions.device)
        x = torch.from_numpy(images(shape, conditions.batch)).to(conditions.device)

        def run() -> None:
            with torch.inference_mode():
                network(x)
            if conditions.device == "cuda":
                torch.cuda.synchronize()

        return run


def images(shape: tuple[int, ...], batch: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Random numbers of about the size that layers have, `[batch, *shape]`; few are so small that they are slow."""
    return np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)


def _library(name: str, extra: str) -> Any:
    return optional(name, f"--runtime {name}", f"anybudget[{extra}]")


RUNTIMES: Registry[type[Runtime]] = Registry(
    "runtime",
    "anybudget.runtimes",
    {
        "onnxruntime": "anybudget.latency.runtimes:OnnxRuntime",
        "openvino": "anybudget.latency.runtimes:OpenVino",
        "torch": "anybudget.latency.runtimes:Torch",
    },
)
"""Every registered runtime by name."""
