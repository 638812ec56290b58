import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anybudget.architecture import Architecture
from anybudget.errors import ArchitectureError

architectures = st.builds(Architecture, st.text(), st.lists(st.integers()).map(tuple))


@given(architectures)
def test_json_round_trip(architecture: Architecture) -> None:
    again = Architecture.from_json(architecture.to_json())
    assert again == architecture
    assert hash(again) == hash(architecture)
    assert again.short_id == architecture.short_id


def test_equal_values_share_a_key() -> None:
    first, second = Architecture("unified", (1, 2)), Architecture("unified", (1, 2))
    assert {first: "a"}[second] == "a"
    assert first != Architecture("unified", (2, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[1]", "expected an object"),
        ('{"space": "unified"}', "expected an object"),
        ('{"space": "unified", "choices": [1], "extra": 1}', "expected an object"),
        ('{"space": 3, "choices": [1]}', '"space" must be a text'),
        ('{"space": "unified", "choices": [1.5]}', '"choices" must be a list of integers'),
        ('{"space": "unified", "choices": [true]}', '"choices" must be a list of integers'),
        ('{"space": "unified", "choices": "12"}', '"choices" must be a list of integers'),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_bad_json_is_named(text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message) as caught:
        Architecture.from_json(text, "arch.json")
    assert str(caught.value).startswith("arch.json: ")


def test_json_form_is_stable() -> None:
    assert json.loads(Architecture("unified", (3, 4)).to_json()) == {"space": "unified", "choices": [3, 4]}
