"""Recipes: what is read, what is refused, and that every recipe of the project is whole."""

from itertools import takewhile
from pathlib import Path

import pytest
import tomli_w

from anybudget.config import differences, load_recipe, parse_recipe, resolved
from anybudget.errors import AnyBudgetError, BudgetError, ConfigError
from anybudget.spaces import UnifiedSpace

RECIPE_FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(RECIPE_FOLDER.glob("*.toml"))
PAPER_SCALE = [path for path in RECIPES if path.stem != "demo"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses_and_resolves_to_itself(path: Path, tmp_path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.name == path.stem
    again = tmp_path / "again.toml"
    again.write_text(tomli_w.dumps(resolved(recipe)))
    assert load_recipe(again) == recipe


def test_sgnas_recipe_is_the_paper_s_space() -> None:
    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / "sgnas-imagenet.toml")
    space = recipe.build_space()
    assert isinstance(space, UnifiedSpace)
    assert space.size() == 80**19
    assert space.input_shape == (3, 224, 224)
    section = recipe.supernet
    assert (section.epochs, section.batch_size, section.learning_rate) == (50, 256, 0.045)
    assert (section.momentum, section.weight_decay) == (0.9, 4e-5)


@pytest.mark.parametrize("path", PAPER_SCALE, ids=lambda path: path.stem)
def test_paper_scale_recipes_say_where_they_come_from(path: Path) -> None:
    header = list(takewhile(lambda line: line.startswith("#"), path.read_text(encoding="utf-8").splitlines()))
    assert header[0].startswith("# ")
    assert header[0].endswith(".")
    for label in ("Source", "Published", "Hardware in the paper"):
        assert sum(line.startswith(f"# {label}: ") for line in header) == 1, label
    assert any("Not measured here." in line for line in header)
    commands = [line for line in header if line.startswith("# Command: ")]
    assert len(commands) == 1
    assert commands[0].startswith(f"# Command: anybudget run recipes/{path.name} --set data.source=/path/to/")


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("greedynas-imagenet", 7**21),
        ("greedynas-se-imagenet", 13**21),
        ("sgnas-imagenet", 80**19),
        ("sgnas-nas-bench-201", 5**6),
        ("spos-bits-resnet18", 6**8),
        ("spos-channels-imagenet", 10**20),
        ("spos-imagenet", 4**20),
    ],
)
def test_paper_scale_recipes_have_the_papers_spaces(name: str, size: int) -> None:
    assert load_recipe(RECIPE_FOLDER / f"{name}.toml").build_space().size() == size


def test_overrides(recipe_file: Path) -> None:
    recipe = load_recipe(
        recipe_file, ["supernet.epochs=7", "data.source=some/where", "search.budgets=['macs<=1M']", "seed=3"]
    )
    assert recipe.supernet.epochs == 7
    assert recipe.data.source == "some/where"
    assert recipe.search.budgets == ["macs<=1M"]
    assert recipe.seed == 3


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("supernet.epohcs=3", "unknown key supernet.epohcs; did you mean epochs?"),
        ("zzz=1", "unknown key zzz; known are name"),
        ("supernet.epochs=0", "supernet.epochs: input should be greater than or equal to 1, found 0"),
        ("supernet.epochs=many", "supernet.epochs: input should be a valid integer"),
        ("supernet.epochs=1.5", "supernet.epochs: input should be a valid integer"),
        ("supernet.learning_rate=-1", "supernet.learning_rate"),
        ("supernet.learning_rate=nan", "supernet.learning_rate"),
        ("supernet.sampler=greedy", "supernet.sampler"),
        ("supernet=3", "supernet"),
        ("space.stages=[]", "space.stages"),
        ("space.stages=[{width=4, repeats=1, stride=3}]", "space.stages.0.stride"),
        ("space.stages=[{width=4, repeats=1, stride=1, se=1}]", "unknown key space.stages.0.se"),
        ("space.kernels=[4]", "space: kernels"),
        ("space.min_expansion=7", "min_expansion 7"),
        ("space.classes=1", "space.classes"),
        ("data.validation_fraction=1", "data.validation_fraction"),
        ("search.budgets=[]", "search.budgets"),
        ("search.budgets=['macs<2M']", "search.budgets: cannot read budget 'macs<2M'"),
        ("retrain.picks=[3]", "retrain.picks: 3 is beyond the 2 budgets"),
        ("seed=-1", "seed"),
        ("name.x=1", "'name' is a value, not a table"),
        ("novalue", "write key=value"),
        ("=3", "write key=value"),
    ],
)
def test_wrong_values_are_named(recipe_file: Path, override: str, message: str) -> None:
    with pytest.raises(AnyBudgetError) as caught:
        load_recipe(recipe_file, [override])
    assert message in str(caught.value)
    assert isinstance(caught.value, ConfigError | BudgetError)


def test_missing_keys_and_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such recipe"):
        load_recipe(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="cannot read"):
        load_recipe(tmp_path)
    (tmp_path / "bad.toml").write_text("name = ")
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_recipe(tmp_path / "bad.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot read"):
        load_recipe(tmp_path / "binary.toml")
    with pytest.raises(ConfigError, match="key space is missing"):
        parse_recipe({"name": "x"}, "here")


def test_all_problems_come_in_one_message(recipe_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(recipe_file, ["supernet.epochs=0", "generator.epochs=0"])
    assert "supernet.epochs" in str(caught.value)
    assert "generator.epochs" in str(caught.value)


def test_differences_name_keys_and_values(recipe_file: Path) -> None:
    first, second = (resolved(load_recipe(recipe_file, [f"supernet.epochs={n}"])) for n in (2, 5))
    assert differences(first, first) == []
    assert differences(first, second) == ["supernet.epochs: 2 -> 5"]
