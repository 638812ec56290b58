"""What is registered from outside the package, after it was imported, works like what is built in."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from anybudget.errors import ConfigError
from anybudget.nets import SUPERNETS, build_supernet
from anybudget.recipe import load_recipe
from anybudget.registry import Registry
from anybudget.spaces import SPACES
from anybudget.testing import check_space, check_supernet

REGISTRIES: list[Registry[object]] = [SPACES, SUPERNETS]  # type: ignore[list-item]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module from outside, imported; what it registers is gone after the test."""
    for registry in REGISTRIES:
        monkeypatch.setattr(registry, "_loaded", dict(registry._loaded))
    monkeypatch.delitem(sys.modules, "outside_module", raising=False)
    yield importlib.import_module("outside_module")
    sys.modules.pop("outside_module", None)


def twin_recipe(recipe_file: Path, space: str = 'name = "twin"') -> Path:
    """The tiny recipe with the space from outside."""
    text = recipe_file.read_text()
    start, end = text.index("[space]"), text.index("[supernet]")
    recipe_file.write_text(f"{text[:start]}[space]\n{space}\n\n{text[end:]}")
    return recipe_file


def test_a_space_from_outside_conforms(outside: ModuleType) -> None:
    space = outside.TwinSpace(outside.TwinSettings())
    check_space(space, samples=3)
    torch.manual_seed(0)
    check_supernet(build_supernet(space), samples=2)


def test_a_recipe_names_a_space_from_outside(outside: ModuleType, recipe_file: Path) -> None:
    recipe = load_recipe(twin_recipe(recipe_file), ["space.layers=3"])
    space = recipe.build_space()
    assert type(space) is outside.TwinSpace
    assert (space.size(), space.input_shape) == (8, (1, 8, 8))
    with pytest.raises(ConfigError, match=r"unknown key space.layrs; did you mean layers\?"):
        load_recipe(recipe_file, ["space.layrs=3"])
    with pytest.raises(ConfigError, match=r"unknown search space 'twins'; did you mean 'twin'\? known are unified"):
        load_recipe(recipe_file, ["space.name=twins"])


def test_what_is_not_registered_is_not_known(recipe_file: Path) -> None:
    with pytest.raises(ConfigError, match="unknown search space 'twin'; "):
        load_recipe(twin_recipe(recipe_file))


def test_a_space_without_a_supernet_says_what_to_set(outside: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    space = outside.TwinSpace(outside.TwinSettings())
    monkeypatch.setattr(outside.TwinSpace, "supernet", "twins", raising=False)
    with pytest.raises(ConfigError, match="unknown supernet 'twins'; known are unified, choice-blocks, sliced, cell"):
        build_supernet(space)
    monkeypatch.setattr(outside.TwinSpace, "supernet", None)
    with pytest.raises(ConfigError, match="'twin' names no supernet; set `supernet` in its class to one of unified"):
        build_supernet(space)
