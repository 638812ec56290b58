"""What anybudget runs on: versions, devices, threads, memory and disk."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import torch

from anybudget.nets.compiled import build
from anybudget.runtime.device import pick_device
from anybudget.runtime.threads import probed_threads, set_by_caller, usable_cores
from anybudget.storage.provenance import package_version

PACKAGES = ("anybudget", "torch", "numpy", "scipy", "pymoo", "lightning-fabric", "ray")


def environment(folder: Path) -> dict[str, Any]:
    """Versions, devices, cores, memory, and the disk that `folder` is on."""
    versions = {name: package_version(name) for name in PACKAGES}
    cuda = torch.cuda.is_available()
    return {
        "versions": {name: None if found == "not installed" else found for name, found in versions.items()},
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": str(pick_device("auto")),
        "cuda": {
            "version": torch.version.cuda,
            "devices": [_cuda_device(index) for index in range(torch.cuda.device_count())] if cuda else [],
        },
        "mps": torch.backends.mps.is_available(),
        "torch_threads": torch.get_num_threads(),
        "cores": usable_cores(),
        "auto_threads": _auto_threads(),
        "kernels": build.found().said,
        "memory": memory(),
        "disk": {"folder": str(folder), "free_bytes": free_bytes(folder)},
        "omp_num_threads": os.environ.get("OMP_NUM_THREADS"),
    }


def _auto_threads() -> dict[str, Any]:
    """What `threads = 0` comes to here, and why; a small network stands for one that is to be trained."""
    caller, cores, device = set_by_caller(), usable_cores(), pick_device("auto")
    if caller is None and device.type == "cpu" and cores > 1:
        found = probed_threads()
        return {"threads": found.count, "why": f"a step of a small network takes {found}; real ones are timed anew"}
    why = f"{caller} says so" if caller else "there is one core" if device.type == "cpu" else f"{device} does the work"
    return {"threads": torch.get_num_threads(), "why": why}


def facts(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What `environment` has found, for people."""
    for name, version in found["versions"].items():
        yield name, version or "not installed"
    yield "Python", found["python"]
    yield "platform", found["platform"]
    yield "device that auto picks", found["device"]
    for device in found["cuda"]["devices"]:
        yield (
            "CUDA " + found["cuda"]["version"],
            "{name}, {capability}, {memory}".format(**device, memory=size(device["total_bytes"])),
        )
    if found["mps"]:
        yield "MPS", "there; take it with device = mps"
    yield "torch threads, cores", f"{found['torch_threads']} of {found['cores']}"
    yield "threads that auto takes", "{threads}: {why}".format(**found["auto_threads"])
    yield "kernels of training on the CPU", found["kernels"]
    for kind in ("free", "total"):
        yield f"{kind} memory", size(found["memory"][f"{kind}_bytes"])
    yield "free disk", f"{size(found['disk']['free_bytes'])}, at {found['disk']['folder']}"
    yield "OMP_NUM_THREADS", found["omp_num_threads"] or "not set"


def memory() -> dict[str, int]:
    """Free and total memory of this machine in bytes."""
    found = psutil.virtual_memory()
    return {"free_bytes": found.available, "total_bytes": found.total}


def size(count: int | None) -> str:
    """A number of bytes for people."""
    if count is None:
        return "unknown"
    if count < 1024:
        return f"{count} bytes"
    power = min(4, int(math.log(count, 1024)))
    return f"{count / 1024**power:.1f} {('KiB', 'MiB', 'GiB', 'TiB')[power - 1]}"


def _cuda_device(index: int) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(index)
    return {
        "name": properties.name,
        "capability": f"{properties.major}.{properties.minor}",
        "total_bytes": properties.total_memory,
    }


def free_bytes(folder: Path) -> int | None:
    """Free bytes on the disk of a folder, or of the nearest one above that is there; None where that is not told."""
    for place in (folder, *folder.resolve().parents):
        try:
            return psutil.disk_usage(str(place)).free
        except OSError:
            continue
    return None
