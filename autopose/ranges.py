"""The range of every number in the settings. What is not a finite number passes none of them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

from autopose.errors import UserError

# No setting is larger; infinity and what is no number fail the comparison.
_LARGEST = 1e30


@dataclass(frozen=True)
class Range:
    """Bounds of a number, or of each number of a list of ``length``; ``above`` and ``below`` are not reached."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    length: int | None = None

    def holds(self, value: object) -> bool:
        """Whether value is a finite number within the bounds."""
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) < _LARGEST
            and (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        words = {"least": "at least", "above": "above", "most": "at most", "below": "below"}
        bounds = [f"{word} {getattr(self, name):g}" for name, word in words.items() if getattr(self, name) is not None]
        text = " and ".join(bounds) or "finite"
        return f"a list of {self.length} numbers, each {text}" if self.length else text


COUNT = Range(least=1)
NOT_NEGATIVE = Range(least=0)
POSITIVE = Range(above=0)
SHARE = Range(least=0, most=1)
DECAY = Range(least=0, below=1)
BETAS = Range(least=0, below=1, length=2)
ANY = Range()
WIDTH = Range(above=0, most=64)
SIZE = Range(least=4, most=8192, length=2)


def one_of(name: str, value: object, valid: tuple) -> None:
    """UserError unless the setting's value is one of the valid ones."""
    if value not in valid:
        raise UserError(f"{name} must be one of {', '.join(map(str, valid))}, but is {value!r}")


def check_ranges(settings: object, ranges: Mapping[str, Range], prefix: str = "") -> None:
    """Check every number of a dataclass's own fields; one without a range must at least be finite.

    Args:
        settings: the dataclass; None, text and truth values are not looked at.
        ranges: by field.
        prefix: of the names in the message ("train.").

    Raises:
        UserError: a number, or one of a list, lies outside.
    """
    for field in fields(settings):
        value, allowed = getattr(settings, field.name), ranges.get(field.name, ANY)
        name = f"{prefix}{field.name}"
        if isinstance(value, list | tuple) and (field.name in ranges):
            if (allowed.length and len(value) != allowed.length) or not all(allowed.holds(item) for item in value):
                each = "" if allowed.length else "numbers, each "
                raise UserError(f"{name} must be {each}{allowed}, but is {list(value)}")
        elif isinstance(value, int | float) and not isinstance(value, bool) and not allowed.holds(value):
            raise UserError(f"{name} must be {allowed}, but is {value}")
