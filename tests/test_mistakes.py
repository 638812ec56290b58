"""What the tables of mistakes check of a message: what it names, however it is worded."""

import pytest

from mistakes import facts


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("bad.toml: supernet.epochs: input should be 1 or more, found 0", ["bad.toml", "supernet.epochs", "1", "0"]),
        ("unknown key search.prior; did you mean priors?", ["search.prior", "priors"]),
        ("key seed is missing; device: 'tpu' cannot be used", ["seed", "device", "'tpu'"]),
        ("run/a.json, line 3: not JSON", ["run/a.json", "3", "JSON"]),
        ("budget macs<=1 cannot be met; write --min-use", ["macs<=1", "--min-use"]),
        ("'xxx", ["'xxx"]),
        ("File name too long", ["File name too long"]),
    ],
)
def test_facts(message: str, named: list[str]) -> None:
    assert facts(message) == named
