"""What latencies were measured on: the processor and its flags, the governor, the load."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from anybudget.costs.latency import Device
from anybudget.runtime.threads import usable_cores

FLAGS = (
    "sse4_2",
    "avx",
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "amx_tile",
    "amx_int8",
    "asimd",
    "sve",
    "i8mm",
)
"""Those that decide which kernels a runtime takes."""

_CPUINFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def device(kind: str = "cpu") -> Device:
    """This machine, `kind` cpu or cuda; its load is that of now."""
    found = _cpuinfo()
    flags = {*found.get("flags", "").split(), *found.get("Features", "").split()}
    return Device(
        kind=kind,
        processor=_gpu() if kind == "cuda" else found.get("model name") or platform.processor() or platform.machine(),
        flags=[name for name in FLAGS if name in flags],
        cores=usable_cores(),
        governor=_text(_GOVERNOR),
        system=platform.platform(),
        load=[load()],
    )


def load() -> float:
    """The load average of the last minute; 0 where the system does not tell."""
    try:
        return round(os.getloadavg()[0], 2)
    except OSError:
        return 0.0


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else "no CUDA device"


def _cpuinfo() -> dict[str, str]:
    """What Linux says of the first processor."""
    lines = _text(_CPUINFO).split("\n\n")[0].splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
