"""Networks measured elsewhere: a CSV becomes a profile that promises, and what is wrong with it is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from anybudget.costs import build_costs
from anybudget.costs.latency import LatencyProfile
from anybudget.errors import ConfigError, DataError
from anybudget.latency.elsewhere import read_measurements
from anybudget.latency.measuring import runtime_of
from anybudget.recipe import load_recipe
from anybudget.spaces import SearchSpace
from conftest import call
from tiny_spaces import small_mbconv

SPACE = small_mbconv(6)
GOOD = '"[1, 0, 0, 0, 0, 0]",1.5\n'


def written(path: Path, space: SearchSpace, count: int) -> Path:
    """Networks that take a time by their multiply-adds, and 1% of noise."""
    rng, macs = np.random.default_rng(0), build_costs(space)["macs"]
    networks = list(dict.fromkeys(space.sample(rng) for _ in range(2 * count)))[:count]
    lines = ["architecture,ms"]
    for number, network in enumerate(networks):
        ms = (1 + macs.cost(network) / 1e4) * np.exp(0.01 * rng.normal())
        text = network.to_json().replace('"', '""') if number % 2 else json.dumps(network.choices)
        lines.append(f'"{text}",{ms:.6g}')
    path.write_text("\n".join(lines))
    return path


def test_a_csv_becomes_a_profile(recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = load_recipe(recipe_file)
    path = written(tmp_path / "phone.csv", recipe.build_space(), 60)
    out = tmp_path / "latency.json"
    code, text, err = call(capsys, "profile", recipe_file, "--from-measurements", path, "--out", out)
    assert code == 0, err
    assert "phone" in text
    found = LatencyProfile.read(out)
    assert (found.device.processor, found.running.runtime) == ("phone", "elsewhere")
    assert found.check is not None
    assert found.check.networks == 60
    assert found.check.mape_percent < 1.5
    assert 0 < found.promises["quiet"].margin(0.95) < 0.04
    table = '\n[costs.latency_ms]\nkind = "latency"\nfile = "latency.json"\n'
    recipe_file.with_name("latency.json").write_text(out.read_text())
    recipe_file.write_text(recipe_file.read_text() + table)
    code, text, err = call(capsys, "space", recipe_file, "--budget", "latency_ms<=50%", "--json")
    assert code == 0, err
    assert json.loads(text)["budgets"][0]["reachable"]
    with pytest.raises(ConfigError, match="it was measured elsewhere, on phone"):
        runtime_of(found)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "its first line is ''"),
        ("network,ms\n", "its first line is 'network,ms'"),
        ("architecture,ms\n[1, 0, 0, 0, 0, 0],1.5\n", "line 2: has 7 columns, not 2; .* put it in quotes"),
        ('architecture,ms\n"[1, 0, 0]",1.5\n', "line 2: architecture has 3 choices"),
        ('architecture,ms\n"[9, 0, 0, 0, 0, 0]",1.5\n', "line 2: layer 1: choice 9"),
        ('architecture,ms\n"{""space"": ""fbnet"", ""choices"": [1]}",1.5\n', "line 2: architecture of space 'fbnet'"),
        ('architecture,ms\n"[1, 0",1.5\n', "line 2: "),
        ('architecture,ms\n"3",1.5\n', 'line 2: architecture: expected an object with "space" and "choices"'),
        (f"architecture,ms\n{GOOD.replace('1.5', '0')}", "line 2: '0' is no time in ms above 0"),
        (f"architecture,ms\n{GOOD.replace('1.5', '-2')}", "line 2: '-2' is no time"),
        (f"architecture,ms\n{GOOD.replace('1.5', 'fast')}", "line 2: 'fast' is no time"),
        (f"architecture,ms\n{GOOD}{GOOD}", "line 3: the network of line 2 again"),
    ],
)
def test_what_is_wrong_with_measurements_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "phone.csv"
    path.write_text(text)
    with pytest.raises(DataError, match=words) as caught:
        read_measurements(path, SPACE)
    assert "phone.csv" in str(caught.value)


def test_too_few_measurements_are_refused(
    recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "phone.csv", load_recipe(recipe_file).build_space(), 9)
    code, _, err = call(capsys, "profile", recipe_file, "--from-measurements", path, "--out", tmp_path / "out.json")
    assert code == 2
    assert "9 measured networks are too few" in err
    assert not (tmp_path / "out.json").exists()
