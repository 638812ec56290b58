"""The stages of a run: each reads the run folder, does its work, and writes its results back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from anybudget.architecture import Architecture
from anybudget.budgets import BudgetSet
from anybudget.data import Augmentation, DataFacts, Split, largest_class_percent
from anybudget.decoding.feasible import FeasibleSampler
from anybudget.decoding.reachability import attainable
from anybudget.errors import ConfigError, RunError
from anybudget.evaluation.evaluator import evaluate
from anybudget.evaluation.ranking import rank_run
from anybudget.nets import build_network
from anybudget.nets.blocks import channels_last
from anybudget.recipe import TrainingSection
from anybudget.report import write_report
from anybudget.runs.context import OpenRun, with_hint
from anybudget.runs.data_identity import FACTS
from anybudget.runs.strategies import check_names, conditioning_cost, generator_schedule
from anybudget.runs.trained import NETWORK, describe
from anybudget.runs.work import Work
from anybudget.search.base import Candidate, exact_costs
from anybudget.search.compare import compare
from anybudget.search.generator import train_generator
from anybudget.spaces import derive
from anybudget.storage.records import Record
from anybudget.tabular.tables import load_table
from anybudget.training.retrain import train_network
from anybudget.training.samplers import SAMPLERS, GreedySampler, GreedySettings
from anybudget.training.sgd import Schedule
from anybudget.training.supernet import length_of, train_supernet

log = logging.getLogger(__name__)

RETRAIN_AGAIN = "delete that file, and retrain the network again to have it back"


class Run(OpenRun):
    """An open run with its stages as methods."""

    def train_supernet(self) -> None:
        """Stage `supernet`: train the shared weights.

        Writes `supernet.csv`, `supernet.json` (what it cost), `supernet.safetensors`, and `pool.jsonl` if greedy.

        Raises:
            ConfigError: a batch of this or a later training cannot be cut into the parts that the recipe asks for.
        """
        section = self.recipe.supernet
        data = self.data
        self.check_batches()
        rows: list[dict[str, float]] = []
        with self.stage("supernet") as work:
            context = work.training_context(rows.append, section.rollbacks)
            supernet = self._build_supernet()
            schedule = _schedule(section)
            greedy = GreedySettings(**section.greedy.model_dump())
            several = 1 if section.same_paths else self.processes.count
            length = length_of(data, schedule, section.paths_per_step, several)
            sampler = SAMPLERS[section.sampler](self.space, greedy, length)
            spent = train_supernet(
                supernet,
                sampler,
                data,
                schedule,
                paths_per_step=section.paths_per_step,
                score_images=greedy.score_images,
                same_paths=section.same_paths,
                seed=self.recipe.seed,
                context=context,
            )
            self.folder.write_csv("supernet.csv", rows)
            self.folder.write_json("supernet.json", spent.to_dict())
            if isinstance(sampler, GreedySampler):
                self.folder.write_lines("pool.jsonl", sampler.pool.to_rows())
            self.folder.save_weights("supernet.safetensors", supernet)

    def train_generator(self) -> None:
        """Stage `generator`: train the generator; writes `generator.csv`, `.json` and `.safetensors`."""
        data = self.data
        rows: list[dict[str, float]] = []
        with self.evaluating("generator", stage=True) as work:
            # Joins the processes, so that each loads the supernet onto its own device.
            context = work.training_context(rows.append, self.recipe.generator.rollbacks)
            supernet, generator = self.supernet, self._build_generator()
            spent = train_generator(
                generator,
                supernet,
                self.cost,
                data,
                generator_schedule(self.recipe),
                seed=self.recipe.seed,
                context=context,
            )
            self.folder.write_csv("generator.csv", rows)
            self.folder.write_json("generator.json", spent.to_dict())
            self.folder.save_weights("generator.safetensors", generator)

    def generate(self, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        """Answer budget sets with the trained generator and append them to `candidates.jsonl`."""
        self.check_budgets(budgets)
        with self.evaluating("generate") as work:
            return self._generate(work, budgets)

    def _generate(self, work: Work, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        # Read first: a damaged file is to be noticed before the work, not after.
        answered = self._answers()
        strategy = self.strategy("generator", work)
        with self.progress.task("generate", len(budgets)) as task:
            candidates = []
            for budget_set in budgets:
                candidates += strategy.search([budget_set])
                task.advance(1, str(candidates[-1].metrics))
        self._append(candidates, answered, "candidates.jsonl")
        return candidates

    def _append(
        self, candidates: Sequence[Candidate], answered: Sequence[tuple[BudgetSet, Architecture]], name: str
    ) -> None:
        """Add answers to a file of answers; what is there is kept, and the last answer to a budget set counts.

        The last answer, found again, was written just before a kill, or by the same question asked twice.
        """
        last = dict(answered)
        new = [c for c in candidates if last.get(c.budgets) != c.architecture]
        self.folder.append_lines(name, self._described(new))

    def search_with(self, name: str, budgets: Sequence[BudgetSet]) -> list[Candidate]:
        """Answer budget sets with any strategy; adds them to `search/NAME.jsonl`.

        Raises:
            ConfigError: there is no such strategy.
            BudgetError: a budget set cannot be met.
        """
        check_names([name])
        self.check_budgets(budgets)
        with self.evaluating(f"search {name}") as work:
            path = f"search/{name}.jsonl"
            answered = self._answers(path)  # first: a damaged file is to be noticed before the work, not after
            candidates = self.strategy(name, work).search(budgets)
            self._append(candidates, answered, path)
        return candidates

    def compare(self, names: Sequence[str], budgets: Sequence[BudgetSet]) -> dict[str, Any]:
        """Answer the same budget sets with several strategies, each with an evaluator of its own.

        Writes `compare.json`; the report draws it.

        Raises:
            ConfigError: there is no such strategy.
            BudgetError: a budget set cannot be met.
        """
        check_names(names)
        self.check_budgets(budgets)
        with self.evaluating("compare") as work:
            found = compare([self.strategy(name, work, part=name) for name in names], budgets)
            self.folder.write_result("compare.json", found)
        return found

    def rank(self, paths: int, image_counts: Sequence[int], table: Path | None = None) -> dict[str, Any]:
        """How well the supernet orders random networks; `rank_run` says what is returned, and `rank.json` keeps it.

        Raises:
            ConfigError: fewer than three paths.
            DataError: the table cannot be read, or is not of this run's space.
        """
        truth = load_table(table, self.space) if table else None
        with self.evaluating("rank"):
            found = rank_run(
                self.supernet,
                self.data,
                paths=paths,
                image_counts=image_counts,
                seed=self.recipe.seed,
                calibration_images=self.recipe.search.calibration_images,
                retrained=self._retrained(),
                truth=truth,
                progress=self.progress,
            )
            self.folder.write_result("rank.json", found)
        return found

    def _retrained(self) -> dict[Architecture, float]:
        """Test top-1 in percent of the networks that were retrained as they were found."""
        with with_hint(RETRAIN_AGAIN):
            records = [self._record(path) for path in self._networks()]
            return {
                self._architecture(record): record.number("test_top1_percent")
                for record in records
                if not record.values.get("derived")
            }

    def _networks(self) -> list[Path]:
        """The results of retrained networks, without those kept of networks that have been trained again."""
        return [path for path in self.folder.path.glob("retrain/*/result.json") if "." not in path.parent.name]

    def _described(self, candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return [{**c.to_dict(), "layers": self.space.describe(c.architecture), "answered": now} for c in candidates]

    def search(self) -> list[Candidate]:
        """Stage `search`: generate for every budget of the recipe."""
        self.check_budgets(self.recipe.budget_sets())
        with self.evaluating("search", stage=True) as work:
            return self._generate(work, self.recipe.budget_sets())

    def random_baseline(self) -> None:
        """Stage `random`: at every budget of the recipe, score random architectures of about the same cost.

        Each uses at least `search.random_window` of what the budgets leave attainable of their first cost. Scores of
        other budgets that are there already are kept.
        """
        count = self.recipe.search.random_baseline
        rows: list[dict[str, Any]] = []
        rng = np.random.default_rng(self.recipe.seed)
        budget_sets = self.recipe.budget_sets()
        terms = {name: model.terms for name, model in self.costs.items()}
        asked = [budgets.limits() for budgets in budget_sets]
        kept = [row for row in self.folder.read_lines("random.jsonl") if row.get("budgets") not in asked]
        with (
            self.evaluating("random", stage=True) as work,
            self.progress.task("random baseline", count * len(budget_sets)) as task,
        ):
            evaluator = self.new_evaluator(work.journal())
            for budgets in budget_sets if count else ():
                floor = self.recipe.search.random_window * attainable(terms, next(iter(budgets)).cost, budgets)
                drawn = FeasibleSampler(self.space, self.costs, budgets, floor=floor).sample(count, rng)
                if not drawn:
                    log.warning("random baseline: no network uses %s of %s; lower search.random_window", floor, budgets)
                for architecture, score in zip(drawn, evaluator.scores(drawn, task), strict=True):
                    rows.append(
                        {
                            "budgets": budgets.limits(),
                            "architecture": architecture.to_dict(),
                            "costs": exact_costs(self.costs, architecture),
                            **score.to_dict("supernet"),
                        }
                    )
            self.folder.write_lines("random.jsonl", [*kept, *rows])

    def retrain(
        self, architecture: Architecture, *, inherit: bool | None = None, epochs: int | None = None
    ) -> dict[str, Any]:
        """Train one architecture and measure it on the test split; writes `retrain/<id>/`.

        Args:
            architecture: what to train.
            inherit: start from the supernet's weights instead of afresh; the recipe says when None.
            epochs: how long; the recipe says when None.

        Raises:
            ArchitectureError: the architecture is not one of this run's space.
            ConfigError: a derived network was to inherit weights.
        """
        section = self.recipe.retrain
        inherit = section.inherit if inherit is None else inherit
        schedule = _schedule(section if epochs is None else section.model_copy(update={"epochs": epochs}))
        name, settings = f"retrain/{architecture.short_id}", self._retrain_settings(inherit, epochs)
        self.space.validate(architecture)
        former = self._result_of(architecture)  # a damaged one is to be noticed before the work, not after
        derived = bool(section.activation or section.se_reduction)
        specs = derive(
            self.space.block_specs(architecture),
            activation=section.activation or None,
            se_reduction=section.se_reduction,
        )
        if inherit and derived:
            raise ConfigError(
                "a network with retrain.activation or retrain.se_reduction has no weights to inherit; train it from "
                "scratch (retrain.inherit = false, --scratch), or leave both out"
            )
        rows: list[dict[str, float]] = []
        started = time.perf_counter()
        # Weights that are inherited decide the result, as those that evaluate do.
        origin = self.origin() if inherit else {}
        with self.work(name, inherit=inherit, epochs=schedule.epochs, **origin) as work:
            context = work.training_context(rows.append, section.rollbacks)
            network = self.new_evaluator().network(architecture) if inherit else build_network(specs)
            network = channels_last(network.to(self.device))
            train_network(
                network,
                self.data,
                schedule,
                name=f"retrain {architecture.short_id}",
                seed=self.recipe.seed,
                context=context,
            )
            result = {
                "architecture": architecture.to_dict(),
                "costs": {name: model.count(specs) for name, model in self.costs.items()},
                "derived": derived,
                **self._measured("validation", network, self.data.validation),
                **self._measured("test", network, self.data.test()),
                "inherited": inherit,
                "settings": settings,
                "epochs": schedule.epochs,
                "seconds": time.perf_counter() - started,
                "layers": self.space.describe(architecture),
            }
            if former and former.values.get("settings") != settings:
                self.folder.keep(name)  # trained otherwise, and the user's
            self.folder.write_csv(f"{name}/retrain.csv", rows)
            self.folder.save_weights(f"{name}/weights.safetensors", network)
            self.folder.write_json(f"{name}/architecture.json", architecture.to_dict())
            self.folder.write_json(f"{name}/{NETWORK}", describe(self.recipe, architecture))
            self.folder.write_json(f"{name}/{FACTS}", DataFacts.of(self.listing, self.data).to_dict())
            self.folder.write_json(f"{name}/result.json", result)
        return result

    def _measured(self, split: str, network: nn.Module, images: Split) -> dict[str, float]:
        """How well a network does on a split, and the share of its largest class, under keys that name the split."""
        measured = evaluate(network, images, self.data).to_dict(split)
        return {**measured, f"{split}_largest_class_percent": largest_class_percent(images.labels)}

    def retrain_picks(self) -> list[dict[str, Any]]:
        """Stage `retrain`: retrain what was found for the budgets that `retrain.picks` names."""
        picked = self._picked()
        results = []
        with self.stage("retrain"):
            for architecture in picked:
                result = self._result(architecture)
                # One that was finished before the stage was interrupted need not be trained again.
                results.append(self.retrain(architecture) if result is None else result)
        return results

    def _picked(self) -> list[Architecture]:
        """What was found for the budgets that `retrain.picks` names."""
        # The last answer to each budget counts: queries may have been added before and after the search.
        found = dict(self._answers())
        picked = []
        for pick in self.recipe.retrain.picks:
            budgets = self.recipe.budget_sets()[pick - 1]
            if budgets not in found:
                raise RunError(
                    f"{self.folder.path / 'candidates.jsonl'}: has no answer to the budget {budgets}, which "
                    f'retrain.picks names; ask for it with: anybudget generate {self.folder.path} --budget "{budgets}"'
                )
            picked.append(found[budgets])
        return picked

    def _retrain_settings(self, inherit: bool, epochs: int | None) -> dict[str, Any]:
        """What decides how a network is retrained, as its `result.json` keeps it."""
        section = self.recipe.retrain.model_dump(mode="json", exclude={"picks"})
        return {**section, "inherit": inherit, "epochs": self.recipe.retrain.epochs if epochs is None else epochs}

    def _result_of(self, architecture: Architecture) -> Record | None:
        """The result of retraining this architecture, however it was trained; None if it has not been."""
        path = self.folder.path / "retrain" / architecture.short_id / "result.json"
        if not path.exists():
            return None
        with with_hint(RETRAIN_AGAIN):
            record = self._record(path)
            record.number("epochs")
        return record

    def _result(self, architecture: Architecture) -> dict[str, Any] | None:
        """What retraining this architecture as the recipe says gave; None if it has not been."""
        record = self._result_of(architecture)
        settings = self._retrain_settings(self.recipe.retrain.inherit, None)
        return record.values if record and record.values.get("settings") == settings else None

    def report(self) -> Path:
        """Write `report.html` from what the folder holds."""
        return write_report(self.folder.path)

    def run_all(self, say: Callable[[str], None] = print) -> None:
        """Every stage in order; finished ones are not repeated."""
        self.check_budgets(self.recipe.budget_sets())
        conditioning_cost(self.recipe, self.costs)  # before hours of training, not after
        for name, stage, shared in (
            ("supernet", self.train_supernet, True),
            ("generator", self.train_generator, True),
            ("search", self.search, False),
            ("random", self.random_baseline, False),
            ("retrain", self.retrain_picks, True),
        ):
            if self.folder.finished(name):
                say(f"{name}: finished before, kept")
            elif shared or self.folder.writes:
                stage()
            self.barrier()  # processes that have nothing to search wait for the one that has
        self.report()


def _schedule(section: TrainingSection) -> Schedule:
    augment = section.crop_padding or section.flip
    return Schedule(
        epochs=section.epochs,
        batch_size=section.batch_size,
        learning_rate=section.learning_rate,
        momentum=section.momentum,
        weight_decay=section.weight_decay,
        nesterov=section.nesterov,
        warmup_epochs=section.warmup_epochs,
        accumulate=section.accumulate,
        augmentation=Augmentation(section.crop_padding, section.flip) if augment else None,
    )
