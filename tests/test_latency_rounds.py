"""Times in rounds: what a slow spell, bursts and a busy machine do to them."""

from collections.abc import Callable

import numpy as np
import pytest

from anybudget.runtime.rounds import Measured, Rounds, measure


class Machine:
    """A clock that networks move on; `slowness` says by how much longer a run takes that begins at a time."""

    def __init__(self, slowness: Callable[[float], float]) -> None:
        self.now, self.slowness = 0.0, slowness

    def network(self, ms: float) -> Callable[[], None]:
        def run() -> None:
            self.now += ms / 1e3 * self.slowness(self.now)

        return run

    def measure(self, all_ms: list[float], plan: Rounds) -> Measured:
        networks = [lambda ms=ms: self.network(ms) for ms in all_ms]
        return measure(networks, lambda: self.network(1.0), plan, clock=lambda: self.now)


def test_a_quiet_machine_tells_the_times() -> None:
    found = Machine(lambda _now: 1.0).measure([1.0, 2.0, 0.25], Rounds(2, 5, 3))
    assert [times.quiet for times in found.times] == pytest.approx([1.0, 2.0, 0.25])
    assert [times.p95 for times in found.times] == pytest.approx([1.0, 2.0, 0.25])
    assert (found.probe_ms, found.calm) == (pytest.approx(1.0), 1.0)


def test_a_slow_spell_is_noticed_and_left_out() -> None:
    """Half of all rounds run at 2/3 of the speed, for a while of their own."""
    found = Machine(lambda now: 1.5 if now < 0.2 else 1.0).measure([1.0, 2.0, 4.0], Rounds(1, 12, 4))
    assert [times.quiet for times in found.times] == pytest.approx([1.0, 2.0, 4.0])
    assert 0.2 < found.calm < 0.9
    assert found.times[1].p95 == pytest.approx(3.0)


def test_bursts_do_not_raise_the_least() -> None:
    rng = np.random.default_rng(0)
    found = Machine(lambda _now: float(rng.choice([1.0, 1.4]))).measure([1.0, 2.0], Rounds(3, 8, 8))
    assert [times.quiet for times in found.times] == pytest.approx([1.0, 2.0])
    assert [times.p50 for times in found.times] != pytest.approx([1.0, 2.0], rel=0.1) or found.times[0].p95 > 1.3


def test_where_no_visit_was_calm_times_are_those_at_the_probes_best() -> None:
    """The machine slows down from the first round on: only what is measured first is at full speed."""
    machine = Machine(lambda now: 1.0 if now < 0.0069 else 1.25)
    found = machine.measure([1.0] * 3, Rounds(1, 6, 4))
    assert [times.quiet for times in found.times] == pytest.approx([1.0] * 3, rel=0.01)
    assert found.probe_ms < 1.2


def test_every_network_is_visited_in_every_round_in_another_order() -> None:
    order: list[int] = []
    networks = [lambda index=index: lambda: order.append(index) for index in range(5)]
    told: list[int] = []
    measure(networks, lambda: lambda: None, Rounds(1, 3, 2, seed=1), tell=told.append)
    visits = [index for index, before in zip(order[5:], [None, *order[5:]], strict=False) if index != before]
    rounds = [visits[start : start + 5] for start in range(0, len(visits), 5)]
    assert len(order) == 5 + 3 * 5 * (2 + 1)
    assert told == [5, 5, 5]
    assert len({tuple(found) for found in rounds}) > 1


def test_what_a_start_is_worth_is_not_what_the_network_takes() -> None:
    """Starts differ by some percent: the quiet latency is the median over them, and `once` that of the first."""
    machine, rng = Machine(lambda _now: 1.0), np.random.default_rng(0)
    slower: list[float] = []

    def start() -> Callable[[], None]:
        slower.append(float(rng.uniform(1.0, 1.05)))
        return machine.network(2.0 * slower[-1])

    found = measure([start], lambda: machine.network(1.0), Rounds(5, 2, 2), clock=lambda: machine.now).times[0]
    assert len(slower) == 5
    assert found.once == pytest.approx(2.0 * slower[0], rel=1e-4)
    assert found.quiet == pytest.approx(2.0 * float(np.median(slower)), rel=1e-4)
