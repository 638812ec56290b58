"""Recipes: what is read, what is refused, and that every recipe of the project is whole."""

from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch

from anybudget.architecture import Architecture
from anybudget.decoding.reachability import extremes
from anybudget.errors import AnyBudgetError, BudgetError, ConfigError
from anybudget.nets import build_supernet
from anybudget.recipe import load_recipe, load_unmeasured, parse_recipe, resolved
from anybudget.search.evolution import EvolutionSettings
from anybudget.spaces import UnifiedSpace
from anybudget.storage.changes import differences
from anybudget.testing import check_space, check_supernet

RECIPE_FOLDER = Path(__file__).parents[1] / "recipes"
RECIPES = sorted(RECIPE_FOLDER.rglob("*.toml"))
PAPER_SCALE = [  # all but those with the packaged images
    path for path in RECIPES if path.parent.name == "recipes" and not path.stem.startswith(("demo", "fashion"))
]


@pytest.mark.parametrize(
    ("space", "setting"),
    [
        ("mbconv", "se_reduction=4"),
        ("mbconv-se", "se_reduction=4"),
        ("fbnet", "activation=hard_swish"),
        ("unified", "activation=hard_swish"),
        ("shufflenet", "activation=hard_swish"),
        ("shufflenet-channels", "activation=relu6"),
    ],
)
def test_what_can_be_derived_is_allowed(space: str, setting: str) -> None:
    recipe = load_recipe(RECIPE_FOLDER / "small" / f"{space}.toml", [f"retrain.{setting}", "retrain.inherit=false"])
    key, _, value = setting.partition("=")
    assert str(getattr(recipe.retrain, key)) == value


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_parses_and_resolves_to_itself(path: Path, tmp_path: Path) -> None:
    recipe = load_unmeasured(path)
    assert recipe.name == path.stem
    again = tmp_path / "again.toml"
    again.write_text(tomli_w.dumps(resolved(recipe)))
    assert load_unmeasured(again) == recipe
    if not any(kind == "latency" for kind, _ in recipe.cost_tables().values()):  # nothing is to be measured before
        whole = load_recipe(path)  # limits in percent are numbers there
        again.write_text(tomli_w.dumps(resolved(whole)))
        assert load_recipe(again) == whole
        assert whole == recipe or "%" in str(recipe.search.budgets)


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
    ("paper", "sampler", "strategy"),
    [
        ("fairnas", "fair", "nsga2"),
        ("greedynas", "greedy", "nsga2"),
        ("spos", "uniform", "evolution"),
        ("sgnas-imagenet", "fair", "generator"),
        ("sgnas-algorithm-1-imagenet", "fair", "generator"),
        ("sgnas-nas-bench-201", "uniform", "generator"),
    ],
)
def test_paper_scale_recipes_train_and_search_as_their_papers_do(paper: str, sampler: str, strategy: str) -> None:
    found = [load_recipe(path) for path in PAPER_SCALE if path.stem.startswith(paper)]
    assert found
    assert {(recipe.supernet.sampler, recipe.search.strategy) for recipe in found} == {(sampler, strategy)}


def test_fairnas_adds_up_the_gradients_of_a_round() -> None:
    recipe = load_recipe(RECIPE_FOLDER / "fairnas-imagenet.toml")
    assert recipe.supernet.paths_per_step == "round"
    assert len(recipe.build_space().fair_round(np.random.default_rng(0))) == 6


@pytest.mark.parametrize("name", ["spos-imagenet", "spos-channels-imagenet", "spos-bits-resnet18"])
def test_spos_recipes_evolve_as_algorithm_1(name: str) -> None:
    settings = load_recipe(RECIPE_FOLDER / f"{name}.toml").search.evolution
    assert (settings.population, settings.generations, settings.parents, settings.mutation) == (50, 20, 10, 0.1)
    assert settings == EvolutionSettings(), "the defaults are the paper's"


def test_sgnas_algorithm_1_differs_by_what_the_paper_has_otherwise() -> None:
    ours, paper = (
        load_recipe(RECIPE_FOLDER / f"{name}.toml") for name in ("sgnas-imagenet", "sgnas-algorithm-1-imagenet")
    )
    changed = [line.partition(":")[0] for line in differences(resolved(ours), resolved(paper))]
    keys = ("annealing", "budget_loss", "budgets_per_step", "high", "low", "penalty", "priors")
    searched = ["search.generator.candidates", "search.generator.priors"]
    assert sorted(changed) == [*(f"generator.{key}" for key in keys), "name", *searched]
    low, high = extremes(paper.build_costs(paper.build_space(), RECIPE_FOLDER)["conv_macs"].terms)
    assert paper.generator.penalty == pytest.approx(0.0003 * ((high - low) / 1e6) ** 2, rel=1e-3)


@pytest.mark.parametrize("name", ["greedynas-imagenet", "greedynas-se-imagenet"])
def test_greedynas_recipes_have_the_paper_s_figures(name: str) -> None:
    greedy = load_recipe(RECIPE_FOLDER / f"{name}.toml").supernet.greedy
    assert (greedy.sampled, greedy.kept, greedy.score_images, greedy.pool_size) == (10, 5, 1000, 1000)
    assert (greedy.pool_probability, greedy.stop_share) == (0.8, 0.08)
    assert (greedy.warmup, greedy.warmup_iterations) == (0.0, 10_000)


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("fairnas-imagenet", 6**19),
        ("greedynas-imagenet", 7**21),
        ("greedynas-se-imagenet", 13**21),
        ("sgnas-algorithm-1-imagenet", 80**19),
        ("sgnas-imagenet", 80**19),
        ("sgnas-nas-bench-201", 5**6),
        ("spos-bits-resnet18", 6**8),
        ("spos-channels-imagenet", 10**20),
        ("spos-imagenet", 4**20),
    ],
)
def test_paper_scale_recipes_have_the_papers_spaces(name: str, size: int) -> None:
    assert load_recipe(RECIPE_FOLDER / f"{name}.toml").build_space().size() == size


def test_a_recipe_holds_what_differs_from_its_base(tmp_path: Path, recipe_file: Path) -> None:
    above = tmp_path / "above.toml"
    above.write_text('base = "tiny.toml"\nname = "above"\n[supernet]\nepochs = 9\n[search]\nbudgets = ["macs<=50k"]\n')
    recipe, below = load_recipe(above, ["retrain.picks=[]"]), load_recipe(recipe_file)
    assert differences(resolved(below), resolved(recipe)) == [
        "name: 'tiny' -> 'above'",
        "retrain.picks: [1] -> []",
        "search.budgets: ['macs<=30k', 'macs<=60k, params<=1500'] -> ['macs<=50k']",
        "supernet.epochs: 2 -> 9",
    ]


def test_a_base_may_lie_in_the_folder_above(tmp_path: Path, recipe_file: Path) -> None:
    above = tmp_path / "ablations" / "above.toml"
    above.parent.mkdir()
    above.write_text(f'base = "../{recipe_file.name}"\nname = "above"\n')
    assert differences(resolved(load_recipe(recipe_file)), resolved(load_recipe(above))) == ["name: 'tiny' -> 'above'"]
    (above.parent / "further").mkdir()
    further = above.rename(above.parent / "further" / "above.toml")
    further.write_text(f'base = "../../{recipe_file.name}"\n')
    with pytest.raises(
        ConfigError, match=r"further/above\.toml: base: '../../tiny\.toml': leads out of .*ablations, the"
    ):
        load_recipe(further)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "none.toml"', "none.toml: no such recipe"),
        ("base = 3", "base: expected the path of a recipe"),
        ('base = "chain.toml"', "chain.toml has a base itself"),
        ('base = "tiny.toml"\nsupernet = 3', "supernet"),
    ],
)
def test_wrong_bases_are_named(tmp_path: Path, recipe_file: Path, text: str, message: str) -> None:
    (tmp_path / "chain.toml").write_text(f'base = "{recipe_file.name}"')
    (tmp_path / "above.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(tmp_path / "above.toml")
    assert message in str(caught.value)


OWN_SPACES = {
    "unified": """
name = "unified"
stem_width = 8
stages = [{ width = 8, repeats = 1, stride = 1 }, { width = 12, repeats = 2, stride = 2 }]
kernels = [3, 9]
min_expansion = 1
max_expansion = 3
activation = "hard_swish"
""",
    "mbconv": """
name = "mbconv"
stem_width = 8
first_width = 0
stages = [{ width = 8, repeats = 1, stride = 1 }, { width = 12, repeats = 2, stride = 2 }]
head_width = 0
operations = ["k9_e2", "k3_e4_g2", "k5_e1_se", "skip"]
se_reduction = 2
activation = "relu"
""",
    "shufflenet": """
name = "shufflenet"
stem_width = 8
stages = [{ width = 8, repeats = 2, stride = 2 }]
head_width = 16
operations = ["9x9", "xception"]
""",
    "resnet-bits": """
name = "resnet-bits"
stem_kernel = 3
pool = false
blocks = [1, 1]
widths = [4, 8]
bits = [[2, 2], [8, 8]]
""",
}


def own_recipe(recipe_file: Path, name: str) -> Path:
    """The tiny recipe with a space that TOML alone describes."""
    text = recipe_file.read_text()
    start, end = text.index("[space]"), text.index("[supernet]")
    common = "input_size = 8\ninput_channels = 1\nclasses = 3\n"
    recipe_file.write_text(f"{text[:start]}[space]{OWN_SPACES[name]}{common}\n{text[end:]}")
    return recipe_file


@pytest.mark.parametrize("name", OWN_SPACES)
def test_spaces_described_in_toml_alone(recipe_file: Path, name: str) -> None:
    """What the user writes is what is built, checked by the same conformance checks as the registered spaces."""
    space = load_recipe(own_recipe(recipe_file, name)).build_space()
    assert space.name == name
    assert space.input_shape == (1, 8, 8)
    check_space(space, samples=3)
    torch.manual_seed(0)
    check_supernet(build_supernet(space), samples=2)


def test_own_operations_are_built(recipe_file: Path) -> None:
    space = load_recipe(own_recipe(recipe_file, "mbconv")).build_space()
    blocks = space.block_specs(Architecture("mbconv", (0, 1, 2)))[1:4]
    assert [(b.branches[0].kernel, b.expanded_channels, b.groups, b.se_channels) for b in blocks] == [  # type: ignore[attr-defined]
        (9, 16, 1, 0),
        (3, 32, 2, 0),
        (5, 12, 1, 6),
    ]


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("mbconv", "space.operations=['k3_e3','k4_e1']", "space: operations: 'k4_e1' is unknown; write skip"),
        (
            "mbconv",
            "space.operations=['k3_e1_g3']",
            "space: operations: 'k3_e1_g3': pointwise convolutions of 3 groups",
        ),
        ("mbconv", "space.operations=[]", "space.operations"),
        ("mbconv", "space.operations=[3]", "space.operations.0: input should be a valid string"),
        ("mbconv", "space.kernels=[3]", "unknown key space.kernels; known are input_size"),
        ("mbconv", "space.operation=['skip']", "unknown key space.operation; did you mean operations?"),
        ("mbconv", "space.stages=[{width=8, repeats=0, stride=1}]", "space.stages.0.repeats: input should be greater"),
        ("mbconv", "space.stages=[{width=8, repeats=1}]", "key space.stages.0.stride is missing"),
        ("mbconv", "space.stages=[{width=8, repeats=1, stride=1, kernel=3}]", "unknown key space.stages.0.kernel"),
        ("mbconv", "space.stages=3", "space.stages: input should be a list"),
        ("mbconv", "space.activation=gelu", "activation: input should be 'relu', 'relu6', 'hard_swish' or 'silu'"),
        ("mbconv", "space.se_reduction=0", "space.se_reduction"),
        (
            "mbconv",
            "space.name=mbcov",
            "space.name: unknown search space 'mbcov'; did you mean 'mbconv'? known are unified, mbconv",
        ),
        ("mbconv", "space.name=3", "space.name: unknown search space '3'"),
        ("mbconv", "space=3", "space"),
        ("unified", "space.operations=['skip']", "unknown key space.operations"),
        ("unified", "space.kernels=[3, 3]", "space: kernels [3, 3] must be distinct odd sizes"),
        ("unified", "space.max_expansion=13", "space.max_expansion"),
        ("shufflenet", "space.stem_width=7", "space: stem_width: width 7 is odd"),
        ("shufflenet", "space.ratios=[1.0]", "unknown key space.ratios"),
        ("resnet-bits", "space.bits=[[2, 2], [2, 2]]", "space: bits"),
        ("resnet-bits", "space.bits=[[2]]", "space.bits.0"),
        ("resnet-bits", "space.bits=[[9, 1]]", "space.bits.0.0"),
        ("resnet-bits", "space.blocks=[1]", "blocks"),
    ],
)
def test_mistakes_in_own_spaces_are_named(recipe_file: Path, name: str, override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe(own_recipe(recipe_file, name), [override])
    assert message in str(caught.value)


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
        ("supernet.epochs=many", "write a whole number, such as supernet.epochs=10"),
        ("supernet.epochs=1.5", "supernet.epochs: input should be a valid integer"),
        ("supernet.learning_rate=-1", "supernet.learning_rate"),
        ("supernet.learning_rate=nan", "supernet.learning_rate"),
        ("supernet.sampler=greed", "supernet.sampler"),
        ("supernet=3", "supernet"),
        ("space.stages=[]", "space.stages"),
        ("space.stages=[{width=4, repeats=1, stride=3}]", "space.stages.0.stride"),
        ("space.stages=[{width=4, repeats=1, stride=1, se=1}]", "unknown key space.stages.0.se"),
        ("space.kernels=[4]", "space: kernels"),
        ("space.min_expansion=7", "min_expansion 7"),
        ("space.classes=1", "space.classes"),
        ("data.validation_fraction=1", "data.validation_fraction"),
        ("search.budgets=[]", "search.budgets"),
        ("search.budgets=['macs<2M']", "search.budgets: budget 'macs<2M': a budget is an upper limit, so write <="),
        ("supernet.greedy.kept=11", "supernet.greedy.kept: 11 paths cannot be kept of 10"),
        ("supernet.greedy.stop_shar=1", "unknown key supernet.greedy.stop_shar; did you mean stop_share?"),
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
