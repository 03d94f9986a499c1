"""What a pool trains: members by name, each with its architecture and seeds, from the settings alone."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite

from autopose.config import Config
from autopose.errors import UserError
from autopose.nas.randomness import derive_seed
from autopose.space import Architecture, builtin_architecture
from autopose.space.builtin import HAND_MADE, Size, random_architecture, width_for

from .predictor import Predictor, climbed


@dataclass(frozen=True)
class Member:
    """An architecture of the pool.

    Args:
        name: unique in the pool, and the name of its folder.
        band: drawn within the band.
        width: channels over the space's.
        seeds: of its trainings.
    """

    name: str
    architecture: Architecture
    band: bool
    width: float
    seeds: range


class Plan:
    """The members of a pool; a larger pool begins with the members of the smaller one."""

    def __init__(self, config: Config, num_joints: int):
        """
        Args:
            config: of the command.
            num_joints: K of the data.

        Raises:
            UserError: a band that holds no architecture, an unknown or unreadable one to include.
        """
        self.config, self.settings = config, config.pool
        self.macro = config.space.macro()
        self.size = Size(config.data.image_size, num_joints, config.train.width)
        drawn = [self._drawn(number) for number in range(self.settings.architectures)]
        self.drawn = tuple(drawn)
        self.members = {member.name: member for member in (*drawn, *map(self._included, self.settings.include))}

    def trainings(self) -> Iterator[tuple[str, int]]:
        """(member's name, seed), first every member once, then the further seeds."""
        longest = max(len(member.seeds) for member in self.members.values())
        for seed in range(longest):
            yield from ((name, seed) for name, member in self.members.items() if seed in member.seeds)

    def propose(self, scores: Mapping[str, float]) -> bool:
        """Add the members that predictors propose once the drawn ones are trained; False where they stand already.

        Each proposal is a search of its own: a predictor is fitted to one half of the drawn members that have a score,
        another half each time, and climbs within the band from every one of that half.

        Args:
            scores: of the drawn members' first seed, by name.
        """
        known = [member for member in self.drawn if member.name in scores]
        names = [f"predicted-{len(known)}-{number}" for number in range(self.settings.proposed)]
        added = [name for name in names if name not in self.members]
        for name in added:
            self.members[name] = self._proposed(name, known, scores)
        return bool(added)

    def _proposed(self, name: str, known: list[Member], scores: Mapping[str, float]) -> Member:
        draws = random.Random(derive_seed(self.config.seed, "pool", name))
        half = draws.sample(known, len(known) // 2)
        predictor = Predictor.fit(
            [member.architecture for member in half], [scores[member.name] for member in half],
            self.config.space.operations,
        )  # fmt: skip
        starts = [member.architecture for member in half if self._within(member.architecture)]
        if not starts:
            raise UserError("pool.proposed needs members within pool.band to start from, but none was trained")
        best, predicted = max((climbed(each, predictor, self._within) for each in starts), key=lambda found: found[1])
        how = {
            "predictor": {"fitted to": len(half), "predicted": round(predicted, 3), "error": round(predictor.error, 3)}
        }
        seeds = range(self.settings.seeds)
        return Member(name, replace(best, found_by=how), False, self.config.train.width, seeds)

    def _within(self, architecture: Architecture) -> bool:
        low, high = self.settings.band or (0.0, float("inf"))
        return low <= self.size.gmacs(architecture) <= high

    def gmacs(self, member: Member) -> float:
        """10^9 multiply-adds of a member's network."""
        return Size(self.size.image, self.size.num_joints, member.width).gmacs(member.architecture)

    def _drawn(self, number: int) -> Member:
        """Members of the full range and of the band take turns, so that any part of the pool holds both."""
        settings = self.settings
        share = settings.band_share if settings.band else 0.0
        banded = int((number + 1) * share) > int(number * share)
        band = tuple(settings.band) if banded and settings.band else None
        seed = derive_seed(self.config.seed, "pool", number)
        found = random_architecture(self.macro, seed, self.config.space.operations, band, self.size)
        seeds = range(settings.seeds if number < settings.repeated else 1)
        return Member(f"random-{number:04d}", found, banded, self.config.train.width, seeds)

    def _included(self, text: str) -> Member:
        name, _, gmacs = text.rpartition("@") if "@" in text else (text, "", "")
        if name in HAND_MADE:
            architecture = builtin_architecture(name, self.macro)
        elif name.endswith(".json"):
            architecture = Architecture.load(name)
            if architecture.macro_space != self.macro:
                raise UserError(f"the architecture {name} belongs to another space than this pool's")
        else:
            raise UserError(
                f"pool.include: {name!r} is neither the path of an architecture.json nor one of {', '.join(HAND_MADE)}"
            )
        width = self.config.train.width
        if gmacs:
            width = width_for(architecture, _gmacs(text, gmacs), self.size)
        return Member(text.replace("/", "~"), architecture, False, width, range(self.settings.included_seeds))


def _gmacs(text: str, number: str) -> float:
    try:
        found = float(number)
    except ValueError:
        found = -1.0
    if not (found > 0 and isfinite(found)):
        raise UserError(f"pool.include: {text!r} must end with @ and GMACs above 0, as in hrnet@0.02")
    return found
