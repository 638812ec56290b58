"""Mistakes in the options of an engine are said, not waited for."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from anybudget.errors import ConfigError
from anybudget.evaluation import engines
from anybudget.evaluation.engines import cluster, engine_factory
from conftest import call


@pytest.mark.parametrize(
    ("name", "address", "workers", "message"),
    [
        ("slurm", None, None, "unknown engine 'slurm'; known are local, ray"),
        ("local", "auto", None, "--address: the engine local"),
        ("ray", "10.0.0.5", None, "write HOST:PORT"),
        ("ray", "10.0.0.5:port", None, "write HOST:PORT"),
        ("ray", "10.0.0.5:70000", None, "write HOST:PORT"),
        ("ray", "ray://10.0.0.5:10001", None, "write HOST:PORT"),
        ("ray", "127.0.0.1:1", None, "--address 127.0.0.1:1: nothing answers there"),
        ("ray", "nowhere.invalid:6379", None, "nothing answers there"),
    ],
)
def test_wrong_options(name: str, address: str | None, workers: int | None, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        engine_factory(name, address=address, workers=workers)
    assert message in str(error.value)


def test_ray_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'anybudget\[ray\]'"):
        engine_factory("ray")
    assert engine_factory("local") is None
    assert set(engines.ENGINES) == {"local", "ray"}


def test_something_else_than_ray_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "JOIN", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(ConfigError, match=f"--address {address}: no Ray cluster .* within 1 s"):
            cluster.join(address)


def test_no_cluster_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cluster, "TRIAL", "import sys; sys.exit('a reason\\nCould not find any running Ray instance.\\n')"
    )
    with pytest.raises(
        ConfigError, match=r"^--address auto: Could not find any running Ray instance\.; give the address"
    ):
        cluster.join("auto")


@pytest.mark.parametrize("command", ["run tiny.toml", "search run", "generate run", "compare run"])
def test_commands_say_mistakes_first(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--engine", "slurm"], "unknown engine 'slurm'"),
        (["--address", "auto"], "add --engine ray"),
        (["--workers", "0"], "Invalid value for '--workers'"),
        (["--engine", "ray", "--address", "127.0.0.1:1"], "nothing answers there"),
    ):
        name, target = command.split()
        code, out, err = call(capsys, name, tmp_path / target, *arguments)
        assert (code, out) == (2, "")
        assert message in err
    assert not list(tmp_path.iterdir())
