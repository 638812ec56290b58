"""TOML as people type it: the type of a key says how `--set` is read, and what is no TOML is shown written right."""

from pathlib import Path
from typing import Any

import pytest

from anybudget.errors import ConfigError
from anybudget.recipe import load_recipe, resolved
from mistakes import missing


def value(recipe: Path, override: str) -> Any:
    """The value of a key after an override."""
    found: Any = resolved(load_recipe(recipe, [override]))
    for part in override.partition("=")[0].split("."):
        found = found[part.strip()]
    return found


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("data.source=2024", "2024"),
        ("data.source=2024-01-01", "2024-01-01"),
        ("data.source=true", "true"),
        ("data.source=1_000", "1_000"),
        ("data.source=[old]", "[old]"),
        ("name=3.50", "3.50"),
        ("name=inf", "inf"),
        ("device=0", "0"),
        ("data.source=C:\\photos\\new cats", "C:\\photos\\new cats"),
        ("data.source='C:\\photos'", "C:\\photos"),
        ('data.source="C:\\\\photos"', "C:\\photos"),
        ("data.source=a=b # c", "a=b # c"),
        ("data.source = two words ", "two words"),
        ('name="3"', "3"),
        ("supernet.sampler=uniform", "uniform"),
        ("supernet.learning_rate=1e-2", 0.01),
        ("supernet.nesterov=true", True),
        ("supernet.paths_per_step=4", 4),
        ("supernet.paths_per_step=round", "round"),
        ('search.budgets=["macs<=1M", "params<=2k",]', ["macs<=1M", "params<=2k"]),
        ("retrain.picks=[2, 1,]", [2, 1]),
    ],
)
def test_an_override_is_read_by_the_type_of_its_key(recipe_file: Path, override: str, expected: object) -> None:
    assert value(recipe_file, override) == expected


@pytest.mark.parametrize(
    ("override", "way_out"),
    [
        ('data.source="C:\\photos\\cats"', "leave the quotes out: --set data.source=C:\\photos\\cats"),
        ('data.source="cats', "leave the quotes out: --set data.source=cats"),
        ("supernet.nesterov=True", "write supernet.nesterov=true"),
        ("supernet.nesterov=yes", "write true or false, such as supernet.nesterov=true"),
        ("supernet.epochs=3,", "write supernet.epochs=3"),
        ("supernet.epochs=010", "write supernet.epochs=10"),
        ("supernet.epochs=10k", "write a whole number, such as supernet.epochs=10"),
        ("supernet.epochs==3", "write a whole number, such as supernet.epochs=10"),
        ("supernet.learning_rate=.1", "write supernet.learning_rate=0.1"),
        ("supernet.learning_rate=1.", "write supernet.learning_rate=1.0"),
        ("supernet.learning_rate=0,05", "write supernet.learning_rate=0.05"),
        ("supernet.learning_rate=fast", "write a number, such as supernet.learning_rate=0.1"),
        ("supernet=large", "write a table, such as supernet={epochs = 10}"),
        ("search.budgets=macs<=1M", "write --set 'search.budgets=[\"macs<=1M\"]'"),
        ("search.budgets=[macs<=1M,]", "write --set 'search.budgets=[\"macs<=1M\"]'"),
        (
            "search.budgets=[macs<=1M, params<=1k]",
            'write --set \'search.budgets=["macs<=1M", "params<=1k"]\' or --set '
            "'search.budgets=[\"macs<=1M, params<=1k\"]'",
        ),
        ("retrain.picks=1,2", "write --set 'retrain.picks=[1, 2]'"),
        ("retrain.picks=[1 2]", "write --set 'retrain.picks=[1, 2]'"),
        ("space.kernels=3,5", "write --set 'space.kernels=[3, 5]'"),
        ("supernet.learning-rate=0.1", "did you mean learning_rate?"),
        ("space.input-size=8", "did you mean input_size?"),
        (
            "learning_rate=0.1",
            "mean supernet.learning_rate, generator.learning_rate, retrain.learning_rate, detect.learning_rate?",
        ),
        ("input_size=8", "did you mean space.input_size?"),
    ],
)
def test_an_override_that_is_no_toml_is_shown_written_right(recipe_file: Path, override: str, way_out: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_recipe(recipe_file, [override])
    assert not missing(way_out, str(refused.value)), refused.value


@pytest.mark.parametrize(
    ("typed", "way_out"),
    [
        (r'"C:\photos\cats"', "a backslash in double quotes begins an escape; write source = {}".format(
            r"""'C:\photos\cats' or "C:/photos/cats" """.strip())),
        (r'"C:\Users\me"', r"""write source = 'C:\Users\me' or "C:/Users/me" """.strip()),
        (r'''"C:\it's\x"''', """write source = "C:/it's/x" """.strip()),
        (r"C:\Users\me", r"""write source = 'C:\Users\me' or "C:/Users/me" """.strip()),
        ("images.npz", 'write source = "images.npz"'),
        ("True", "write source = true"),
        (".5", "write source = 0.5"),
        ("[a, b]", 'write source = ["a", "b"]'),
    ],
)  # fmt: skip
def test_a_line_of_a_recipe_is_shown_written_right(recipe_file: Path, typed: str, way_out: str) -> None:
    lines = recipe_file.read_text().splitlines()
    (at,) = [index for index, line in enumerate(lines) if line.startswith("source = ")]
    lines[at] = f"source = {typed}"
    recipe_file.write_text("\n".join(lines))
    with pytest.raises(ConfigError, match=f"TOML: .*line {at + 1}, ") as refused:
        load_recipe(recipe_file)
    assert str(refused.value).startswith(f"{recipe_file}: ")
    assert not missing(way_out, str(refused.value)), refused.value


def test_what_is_advised_is_valid(recipe_file: Path) -> None:
    """The path that a message advises is the one that was meant."""
    text = recipe_file.read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("source = ")]
    for written in (r"'C:\photos\cats'", '"C:/photos/cats"'):
        recipe_file.write_text(text.replace(line, f"source = {written}"))
        assert load_recipe(recipe_file).data.source.replace("\\", "/") == "C:/photos/cats"
