"""Checkpoints: all the state of long work in one file, written whole, checked by its hash, never unpickled."""

from __future__ import annotations

import hashlib
import json
import logging
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from anybudget.errors import RunError
from anybudget.reading import UnreadableError, parse_json
from anybudget.runtime.signals import Stopped, StopRequest
from anybudget.storage.changes import conflict
from anybudget.storage.files import write_whole

log = logging.getLogger(__name__)

MAGIC = "anybudget checkpoint"
VERSION = 3
"""Of the form of states; raised when a training saves its state in another form."""


class Stateful(Protocol):
    """What a checkpoint can hold: modules, optimisers, schedules, samplers, sources of randomness."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that decides what happens next: numbers, texts, tensors, arrays, and lists and dicts of them."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> Any:
        """Restore such a state."""


class Checkpoint:
    """Where one piece of long work saves itself, how often, and when it is to stop.

    Work asks after every step whether it is `due` to `save` itself, and, once saved, `stop`s if that has been asked
    for. This base class has no file: it saves nothing and is never asked to stop.
    """

    @property
    def stopping(self) -> bool:
        """Whether work has been asked to stop."""
        return False

    def due(self) -> bool:
        """Whether it is time to save."""
        return False

    def load(self) -> dict[str, Any] | None:
        """The last state that was saved; None to start afresh."""
        return None

    def save(self, state: Mapping[str, Any]) -> None:
        """Keep a state: what `load` is to return."""

    def stop(self) -> None:
        """End the work, which has been saved.

        Raises:
            Stopped: always.
        """
        raise Stopped(signal.SIGTERM)


class FileCheckpoint(Checkpoint):
    """A checkpoint in a file; the one before it is kept beside it.

    The file is a line of JSON (what it is, for which settings, hash and length of the rest) and a safetensors archive.
    Nothing in it can be executed.

    Args:
        path: the file.
        settings: everything that decides what the work does. A checkpoint with other settings is never resumed.
        seconds: how long between two saves; 0 saves after every step.
        request: whether the process has been asked to stop.
        writes: whether the files may be written; if not, `save` keeps nothing. Of several processes of one run that
            do the same work at the same time only one writes.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        seconds: float = 300.0,
        request: StopRequest | None = None,
        writes: bool = True,
    ) -> None:
        self.path = path
        self.previous = path.with_name(f"{path.name}.previous")
        self.settings = json.loads(json.dumps(settings))  # as it is read back
        self.seconds = seconds
        self.request = request or StopRequest()
        self._writes = writes
        self._saved = time.monotonic()
        self._keep_previous = True

    @property
    def stopping(self) -> bool:
        """See `Checkpoint.stopping`."""
        return self.request.made

    def due(self) -> bool:
        """See `Checkpoint.due`."""
        return time.monotonic() - self._saved >= self.seconds

    def save(self, state: Mapping[str, Any]) -> None:
        """See `Checkpoint.save`.

        Raises:
            RunError: it cannot be written; the one before is untouched.
        """
        if self._writes:
            # A file that was found damaged must not push out the good one.
            previous = self.previous if self._keep_previous else None
            write_whole(self.path, packed(state, self.settings), previous=previous)
            self._keep_previous = True
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """See `Checkpoint.load`; the previous file takes over where the last one is damaged, which is said.

        Raises:
            RunError: a checkpoint is of other settings, which are listed; or there are files, and all are damaged.
        """
        problems: list[str] = []
        for path in (self.path, self.previous):
            if not path.exists():
                continue
            try:
                state = read(path, self.settings)
            except DamagedError as error:
                problems.append(str(error))
                continue
            if problems:
                log.warning("%s; resuming from the one before, %s", problems[0], path.name)
                self._keep_previous = False
            return state
        if problems:
            raise RunError(f"{'; '.join(problems)}; delete {self.path.name}* there to start this stage anew")
        return None

    def stop(self) -> None:
        """See `Checkpoint.stop`."""
        self.request.check()
        super().stop()

    def clear(self) -> None:
        """Remove the files: the work is done and its results are written."""
        for path in (self.path, self.previous):
            path.unlink(missing_ok=True)


class DamagedError(Exception):
    """A file is no whole checkpoint."""


def packed(state: Mapping[str, Any], settings: Mapping[str, Any]) -> bytes:
    """A state as the bytes of a checkpoint file."""
    tensors: dict[str, Tensor] = {}
    plain = json.dumps(_flatten(state, "state", tensors))
    payload = save_tensors(tensors, {"state": plain})
    header = {
        "format": MAGIC,
        "version": VERSION,
        "sha256": hashlib.sha256(payload).hexdigest(),
        "bytes": len(payload),
        "settings": settings,
    }
    return json.dumps(header).encode() + b"\n" + payload


def read(path: Path, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The state in a checkpoint file.

    Args:
        path: the file.
        settings: what it must have been made with; None takes any.

    Raises:
        DamagedError: it is truncated, corrupted, or no checkpoint.
        RunError: it was made with other settings; says which.
    """
    try:
        line, _, payload = path.read_bytes().partition(b"\n")
        header = parse_json(line)
        wrong = not isinstance(header, dict) or header.get("format") != MAGIC
    except (OSError, UnreadableError) as error:
        raise DamagedError(f"{path}: damaged, or no checkpoint ({type(error).__name__})") from None
    if wrong or header.get("version") != VERSION:
        raise DamagedError(f"{path}: no checkpoint of this version of anybudget")
    if len(payload) != header.get("bytes"):
        raise DamagedError(f"{path}: truncated: {len(payload):,} of {header.get('bytes')} bytes")
    if hashlib.sha256(payload).hexdigest() != header.get("sha256"):
        raise DamagedError(f"{path}: corrupted: its content does not match its hash")
    made_with = header.get("settings")
    if not isinstance(made_with, dict):
        raise DamagedError(f"{path}: no checkpoint of this version of anybudget")
    otherwise = "" if settings is None else conflict(made_with, settings)
    if otherwise:
        raise RunError(f"{path}: a checkpoint made with {otherwise}")
    try:
        size = int.from_bytes(payload[:8], "little")
        metadata = parse_json(payload[8 : 8 + size])["__metadata__"]
        state = _restore(parse_json(metadata["state"]), load_tensors(payload))
    # A hash that fits, and yet not ours.
    except (SafetensorError, UnreadableError, KeyError, TypeError) as error:
        raise DamagedError(f"{path}: no checkpoint of anybudget ({type(error).__name__})") from None
    assert isinstance(state, dict)
    return state


def settings_of(path: Path) -> dict[str, Any]:
    """The settings that a whole checkpoint was made with."""
    with path.open("rb") as file:
        return dict(json.loads(file.readline())["settings"])


def _flatten(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A state as JSON-able data; tensors and arrays go to `tensors`, and their names stand for them."""
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        # A copy in the plain layout: safetensors takes no two tensors of one memory, and no channels-last ones.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"$tensor": name}
    if isinstance(value, Mapping):
        # Optimisers number their parameters, and JSON has no integer keys.
        return {"$items": [[key, _flatten(item, f"{name}.{key}", tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return [_flatten(item, f"{name}.{index}", tensors) for index, item in enumerate(value)]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"{name}: a checkpoint cannot hold a {type(value).__name__}")


def _restore(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        if "$tensor" in value:
            return tensors[value["$tensor"]]
        return {key: _restore(item, tensors) for key, item in value["$items"]}
    if isinstance(value, list):
        return [_restore(item, tensors) for item in value]
    return value


class TorchRandom:
    """The state of a torch generator as a part of a checkpoint; of torch's global ones if None."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        if self.generator is not None:
            return {"cpu": self.generator.get_state()}
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state_all()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Stateful`."""
        if self.generator is not None:
            self.generator.set_state(state["cpu"])
            return
        torch.set_rng_state(state["cpu"])
        if len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["cuda"])


class NumpyRandom:
    """The state of a NumPy generator as a part of a checkpoint."""

    def __init__(self, generator: np.random.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        """See `Stateful`."""
        return dict(self.generator.bit_generator.state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Stateful`."""
        self.generator.bit_generator.state = state
