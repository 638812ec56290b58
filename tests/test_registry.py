"""`Registry`: what is built in, installed or registered is found by name, and imported when it is used."""

import subprocess
import sys
from importlib.metadata import EntryPoint, EntryPoints

import pytest

from anybudget.errors import ConfigError
from anybudget.registry import Registry

BUILTIN = {"decimal": "decimal:Decimal", "fraction": "fractions:Fraction"}


def numbers() -> Registry[type]:
    return Registry("number", "anybudget.numbers", BUILTIN)


def install(monkeypatch: pytest.MonkeyPatch, **points: str) -> None:
    """As if installed packages had these entry points."""

    def entry_points(*, group: str) -> EntryPoints:
        known = EntryPoints(EntryPoint(name, value, "anybudget.numbers") for name, value in points.items())
        return known.select(group=group)

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)


def test_built_in_things_are_found_by_name() -> None:
    from decimal import Decimal

    known = numbers()
    assert known["decimal"] is Decimal
    assert list(known) == ["decimal", "fraction"]
    assert len(known) == 2
    assert "decimal" in known
    assert "complex" not in known
    assert known.get("complex") is None


def test_a_name_is_imported_when_it_is_used() -> None:
    code = (
        "import sys; from anybudget.registry import Registry\n"
        "known = Registry('tree', 'anybudget.trees', {'xml': 'xml.dom.minidom:Document'})\n"
        "assert 'xml' in known and list(known) == ['xml'] and 'xml.dom.minidom' not in sys.modules\n"
        "known['xml']; assert 'xml.dom.minidom' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_entry_points_of_installed_packages_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, counter="collections:Counter")
    from collections import Counter

    known = numbers()
    assert list(known) == ["decimal", "fraction", "counter"]
    assert known["counter"] is Counter


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ({"broken": "no_such_module:Thing"}, r"number 'broken': .* no_such_module:Thing, which cannot be imported: "),
        ({"broken": "collections:NoSuchThing"}, r"number 'broken': .*NoSuchThing.*; mend or uninstall that package"),
        ({"decimal": "collections:Counter"}, r"number 'decimal': .* uses this name .* that of decimal:Decimal; unins"),
    ],
)
def test_what_is_wrong_with_an_installed_package_is_said(
    monkeypatch: pytest.MonkeyPatch, points: dict[str, str], message: str
) -> None:
    install(monkeypatch, **points)
    known = numbers()
    with pytest.raises(ConfigError, match=message):
        known[list(known)[-1]]


def test_registered_after_import_as_a_call_and_as_a_decorator() -> None:
    known = numbers()

    @known.register
    class Own:
        name = "own"

    @known.register(name="other")
    class Other:
        pass

    assert known.register(int, name="whole") is int
    assert list(known) == ["decimal", "fraction", "own", "other", "whole"]
    assert (known["own"], known["other"], known["whole"]) == (Own, Other, int)


def test_a_name_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, counter="collections:Counter")
    known = numbers()
    for name in ("decimal", "counter"):
        with pytest.raises(ConfigError, match=f"there is a number '{name}' already .*; take another name"):
            known.register(int, name=name)
    known.register(float, name="real")
    with pytest.raises(ConfigError, match="builtins:int: there is a number 'real' already"):
        known.register(int, name="real")
    known.register(float, name="real")  # the same thing again is no other one
    assert known["real"] is float


def test_a_thing_without_a_name_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"builtins:int: a number needs a name to be registered"):
        numbers().register(int)


def test_an_installed_module_may_register_what_its_entry_point_names(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, counter="collections:Counter")
    from collections import Counter

    known = numbers()
    known.register(Counter, name="counter")
    assert known["counter"] is Counter


def test_an_unknown_name_says_what_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"unknown number 'decimel'; did you mean 'decimal'\? known are decimal, fra"):
        numbers()["decimel"]
    with pytest.raises(ConfigError, match=r"unknown number 'zzz'; known are decimal, fraction$"):
        numbers()["zzz"]


def test_settings_are_found_without_what_they_are_of() -> None:
    known = Registry[type](
        "tree",
        "anybudget.trees",
        {
            "xml": "xml.dom.minidom:Document",
            "none": "xml.dom.minidom:Text",
            "inside": "anybudget.search.random:RandomStrategy",
        },
        settings={"xml": "fractions:Fraction", "none": None},
    )
    from fractions import Fraction

    from anybudget.search.random import RandomStrategy

    assert known.settings_of("xml") is Fraction
    assert known.settings_of("none") is None
    assert known.settings_of("inside") is RandomStrategy.settings_type
    with pytest.raises(ConfigError, match="unknown tree 'birch'; known are xml, none, inside"):
        known.settings_of("birch")


def test_settings_of_data_sources_stand_where_the_registry_says() -> None:
    from anybudget.data import SOURCES

    for name in SOURCES.builtin:
        assert SOURCES.settings_of(name) is getattr(SOURCES[name], "settings_type", None)
