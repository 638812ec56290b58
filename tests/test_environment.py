"""What `anybudget doctor` tells of an installation: versions, devices, memory and disk."""

from __future__ import annotations

import json
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from anybudget.runs import environment as environments
from conftest import call


def test_the_environment(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    code, out, _ = call(capsys, "doctor", "--json")
    found = json.loads(out)
    assert (code, found["run"], found["checks"], found["problems"]) == (0, None, [], 0)
    environment = found["environment"]
    assert set(environment["versions"]) == set(environments.PACKAGES)
    assert environment["versions"]["torch"]
    assert environment["device"] in ("cpu", "cuda")
    assert environment["omp_num_threads"] == "3"
    assert 0 < environment["memory"]["free_bytes"] <= environment["memory"]["total_bytes"]
    assert environment["disk"]["free_bytes"] > 0
    assert environment["torch_threads"] >= 1
    assert environment["cores"] >= 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    code, out, _ = call(capsys, "doctor")
    assert code == 0
    for text in ("anybudget", "lightning-fabric", "free memory", "GiB", "not set"):
        assert text in out


def test_what_a_system_does_not_tell_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(*_: Any, **_options: Any) -> Any:
        raise OSError("no such file")

    monkeypatch.setattr("psutil.disk_usage", silent)
    monkeypatch.setattr(environments, "package_version", lambda _: "not installed")
    found = environments.environment(Path.cwd())
    assert found["disk"]["free_bytes"] is None
    assert any(name == "free disk" and text.startswith("unknown") for name, text in environments.facts(found))
    assert ("ray", "not installed") in list(environments.facts(found))


def test_accelerators_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    device = namedtuple("device", "name major minor total_memory")("Big GPU", 9, 0, 80 * 2**30)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: device)
    monkeypatch.setattr("torch.version.cuda", "12.8")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: True)
    found = dict(environments.facts(environments.environment(Path.cwd())))
    assert found["CUDA 12.8"] == "Big GPU, 9.0, 80.0 GiB"
    assert found["device that auto picks"] == "cuda"
    assert "mps" in found["MPS"]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (3 * 2**29, "1.5 GiB"), (2**50, "1024.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert environments.size(count) == text
