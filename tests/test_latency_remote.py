"""A folder that another device measures: it needs nothing of the package there, and comes back as a profile."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

from anybudget.costs.latency import LatencyProfile
from anybudget.errors import DataError
from anybudget.latency.profiling import ProfileSettings
from anybudget.latency.remote import SCRIPT, read_folder, script, write_folder
from anybudget.runtime.progress import SilentProgress
from tiny_spaces import small_mbconv

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

SPACE = small_mbconv(5, "k3_e3", "k5_e3")
SETTINGS = ProfileSettings(fitted=10, checked=20)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written, with one round for the device, and measured."""
    path = tmp_path_factory.mktemp("phone")
    write_folder(SPACE, path, SilentProgress(), SETTINGS)
    jobs = json.loads((path / "jobs.json").read_text())
    jobs["plan"] = {"starts": 2, "rounds": 1, "runs": 2}
    (path / "jobs.json").write_text(json.dumps(jobs))
    done = measured(path)
    assert done.returncode == 0, done.stderr
    return path


def measured(path: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(path / SCRIPT), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env={"PATH": ""}, cwd=path.parent)


def read(path: Path) -> LatencyProfile:
    return read_folder(SPACE, path / "measured.json", SilentProgress(), SETTINGS)


def test_the_file_needs_numpy_and_onnxruntime_alone() -> None:
    tree = ast.parse(script())
    names = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    tops = {name.partition(".")[0] for name in names}
    assert tops - set(sys.stdlib_module_names) == {"numpy", "onnxruntime"}


@pytest.mark.slow
def test_what_was_measured_becomes_a_profile(folder: Path) -> None:
    profile = read(folder)
    assert profile.check is not None
    assert profile.check.networks == 20
    assert profile.running.runtime == "onnxruntime"
    assert profile.promises["quiet"].margin(0.9) > 0
    result = json.loads((folder / "measured.json").read_text())
    assert profile.device.processor == result["processor"]
    assert len(result["parts"]) == 4


@pytest.mark.slow
def test_what_is_measured_is_not_measured_again(folder: Path) -> None:
    path = folder / "measured.json"
    before = json.loads(path.read_text())
    del before["parts"]["2"]
    path.write_text(json.dumps(before))
    with pytest.raises(DataError, match=r"measured.json: 1 of 4 parts are not measured; run measure.py again"):
        read(folder)
    done = measured(folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("is measured already") == 3
    after = json.loads(path.read_text())
    assert {**after["parts"], "2": None} == {**before["parts"], "2": None}
    refused = measured(folder, "--threads", "2")
    assert refused.returncode != 0
    assert "other --threads" in refused.stderr


@pytest.mark.slow
def test_what_is_wrong_with_what_comes_back_is_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"jobs.json: cannot read the jobs"):
        read_folder(SPACE, tmp_path / "measured.json", SilentProgress(), SETTINGS)
    jobs, result = ((folder / name).read_text() for name in ("jobs.json", "measured.json"))
    (tmp_path / "jobs.json").write_text(jobs)
    with pytest.raises(DataError, match=r"measured.json: cannot read what was measured"):
        read(tmp_path)
    (tmp_path / "measured.json").write_text(result.replace('"quiet": ', '"quiet": -'))
    with pytest.raises(DataError, match=r"parts.0.times.0.quiet: input should be greater than 0"):
        read(tmp_path)
    (tmp_path / "measured.json").write_text(result)
    with pytest.raises(DataError, match="measured for another space"):
        read_folder(small_mbconv(6, "k3_e3", "k5_e3"), tmp_path / "measured.json", SilentProgress(), SETTINGS)
