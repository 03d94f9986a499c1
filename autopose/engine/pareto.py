"""A front of architectures from one supernet: NSGA-II (Deb et al., 2002; Optuna's) over β and operations.

The score is the supernet's reward without any penalty, the cost that of the derived network. A trial of the study is
one architecture; what was scored is kept in a file of the run's folder, so that a run that was stopped goes on.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna
from optuna.samplers import NSGAIISampler
from optuna.trial import FrozenTrial, TrialState

from autopose.config import Config
from autopose.engine.search import SearchRun
from autopose.errors import UserError
from autopose.nas import cells_of
from autopose.nas.algorithms import Candidate
from autopose.nas.cost import Cost
from autopose.nas.derive import columns_of
from autopose.nas.front import Point, front_of
from autopose.nas.randomness import derive_seed
from autopose.runs.runtime import progress_bar
from autopose.space import Architecture, MacroArchitecture
from autopose.space.builtin import HAND_MADE, builtin_architecture
from autopose.space.latency import LatencyTable

logger = logging.getLogger("autopose")
NAME = "pareto"
# Draws for every score that is asked for, before the limit of multiply-adds counts as out of reach.
MOST_DRAWS = 50


class ParetoSearch:
    """The evolution, and the points that it has scored."""

    def __init__(self, search: SearchRun, config: Config, folder: Path):
        """
        Args:
            search: with the state of its checkpoint.
            config: of the command.
            folder: that keeps the study.
        """
        self.search, self.config, self.settings = search, config, config.pareto
        self.alphas, self.reward = search.bilevel.alphas, search.reward
        network, table = search.bilevel.network, None
        self.macro = network.space.macro
        if self.settings.latency_table:
            table = LatencyTable.load(self.settings.latency_table)
        self.cost = Cost(network.space, config.search.width, config.data.image_size, network.num_joints, table)
        counted = Cost(network.space, config.search.width, config.data.image_size, network.num_joints)
        counted.check_target(self.settings.max_gmacs, "pareto.max_gmacs")
        self.study = self._study(folder / "pareto.db")

    def _study(self, path: Path) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        if path.exists() and self.config.resume != "auto":
            raise UserError(f"{path} holds another run's scores: give another hydra.run.dir, or resume=auto to go on")
        sampler = NSGAIISampler(
            population_size=self.settings.population, seed=derive_seed(self.config.seed, "pareto") % 2**32
        )
        study = optuna.create_study(
            storage=f"sqlite:///{path.resolve().as_posix()}", study_name=NAME, directions=["maximize", "minimize"],
            sampler=sampler, load_if_exists=True,
        )  # fmt: skip
        of = {"checkpoint": str(self.config.checkpoint), "cost": self.cost.unit, "seed": self.config.seed,
              "max_gmacs": self.settings.max_gmacs, "population": self.settings.population}  # fmt: skip
        for key, value in of.items():
            if study.user_attrs.get(key, value) != value:
                raise UserError(
                    f"this front was begun with {key}={study.user_attrs[key]}, now it is {value}: give that value, or "
                    "another hydra.run.dir"
                )
            study.set_user_attr(key, value)
        return study

    def run(self) -> list[Point]:
        """Score until ``pareto.evaluations`` are done; all points, hand-made ones first."""
        wanted, limit = self.settings.evaluations, self.settings.max_gmacs
        done, drawn = len(self._scored()), len(self.study.trials)
        with progress_bar(wanted, done, self.search.runtime) as bar:
            while done < wanted:
                if drawn >= MOST_DRAWS * wanted:
                    raise UserError(
                        f"only {done} of {drawn} architectures had at most pareto.max_gmacs={limit:g}: allow more"
                    )
                trial = self.study.ask()
                candidate = self._candidate(trial)
                drawn += 1
                if limit and self.reward.gmacs(candidate.beta, candidate.ops) > limit:
                    self.study.tell(trial, state=TrialState.PRUNED)
                    continue
                self.study.tell(trial, self._values(candidate))
                done += 1
                bar.update()
        return [*self._hand_made(), *map(self._point, self._scored())]

    def _scored(self) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))

    def _candidate(self, trial: optuna.Trial) -> Candidate:
        allowed = self.macro.allowed()
        places = range(len(allowed))
        rows = [allowed[trial.suggest_categorical(f"beta_{d}", places)] for d in range(self.macro.num_decisions)]
        ops = {
            name: [trial.suggest_categorical(f"{name}_{edge}", columns) for edge, columns in enumerate(edges)]
            for name, edges in self.alphas.columns.items()
        }
        trial.set_user_attr("beta", [list(map(int, row)) for row in rows])
        trial.set_user_attr("ops", ops)
        return Candidate(MacroArchitecture(tuple(rows)), ops)

    def _values(self, candidate: Candidate) -> tuple[float, float]:
        score = self.reward.score(candidate.beta, candidate.ops, penalised=False)
        return score, self.cost(candidate.beta, cells_of(self.alphas, candidate.ops))

    def _point(self, trial: FrozenTrial) -> Point:
        beta, ops = MacroArchitecture.of(trial.user_attrs["beta"]), trial.user_attrs["ops"]
        score, cost = trial.values
        found_by = {"algorithm": "nsga2", "trial": trial.number, "score": score, "cost": cost, "unit": self.cost.unit}
        architecture = Architecture(self.macro, beta, cells_of(self.alphas, ops), found_by)
        kind = "random" if trial.number < self.settings.population else "evolved"
        return Point(architecture, kind, score, cost, self.reward.gmacs(beta, ops))

    def _hand_made(self) -> Iterator[Point]:
        """Those that the space holds."""
        for name in HAND_MADE:
            architecture = builtin_architecture(name, self.macro)
            try:
                ops = columns_of(self.alphas, architecture)
            except ValueError:
                continue
            candidate = Candidate(architecture.macro, ops)
            yield Point(architecture, name, *self._values(candidate), self.reward.gmacs(architecture.macro, ops))


def save_front(points: list[Point], folder: Path, limit: float) -> list[dict]:
    """Write the front's architectures into ``front/``; a row of the table for each."""
    within = [point for point in points if not limit or point.gmacs <= limit]
    rows = []
    for number, point in enumerate(front_of(within)):
        path = folder / "front" / f"{number:02d}.json"
        point.architecture.save(path)
        rows.append({
            "architecture": str(path), "kind": point.kind, "score": point.score, "cost": point.cost,
            "GMACs": point.gmacs, "beta": json.dumps(str(point.architecture.macro))[1:-1],
        })  # fmt: skip
    return rows
