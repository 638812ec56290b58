"""What processes know before they train together: devices that are there, shares of a batch, who writes."""

from __future__ import annotations

import pytest

from anybudget.errors import ConfigError
from anybudget.runtime.distributed import FabricProcesses, Processes
from anybudget.storage.files import is_main_process


def test_one_device_cannot_be_that_of_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"device: cuda:1 is one device, .* 2 processes .*device = cuda"):
        FabricProcesses("cuda:1", devices=2)
    for name, value in {"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="there are 4 processes on this machine"):
        FabricProcesses("cuda:1")


def test_batches_that_cannot_be_shared_out_are_refused() -> None:
    processes = Processes()
    processes.count = 3
    with pytest.raises(ConfigError, match="batch_size 16 cannot be shared out evenly among 3 processes"):
        processes.check_batch(16)


def test_a_device_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match="device cuda"):
        FabricProcesses("cuda")


@pytest.mark.parametrize(
    ("environment", "main"),
    [
        ({}, True),
        ({"RANK": "0"}, True),
        ({"RANK": "3", "LOCAL_RANK": "0"}, False),
        ({"LOCAL_RANK": "1"}, False),
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, False),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4"}, True),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "1"}, True),
    ],
)
def test_the_main_process_is_known_from_the_environment(
    environment: dict[str, str], main: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_main_process() is main
