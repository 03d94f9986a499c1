"""Search algorithms by name: who proposes architectures, and learns from their rewards."""

from .base import Algorithm, Candidate, Reward, Task, algorithm_class, checked, explore, rewards_of, uniform_beta
from .baselines import Evolution, RandomSearch, mutate, random_candidate, with_another_row
from .policy import Policy

ALGORITHMS: dict[str, type[Algorithm]] = {"bilevel": Policy, "random": RandomSearch, "evolution": Evolution}

__all__ = [
    "ALGORITHMS", "Algorithm", "Candidate", "Evolution", "Policy", "RandomSearch", "Reward", "Task", "algorithm_class",
    "checked", "explore", "mutate", "random_candidate", "rewards_of", "uniform_beta", "with_another_row",
]  # fmt: skip
