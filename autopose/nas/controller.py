"""The RNN controller over β and its REINFORCE update (§3.2.1, §4.2). D decisions, B branches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autopose.errors import Diverged
from autopose.ranges import COUNT, NOT_NEGATIVE, SHARE, check_ranges
from autopose.space import MacroArchitecture, MacroSpace

from .randomness import generator

BASELINES = ("ema", "leave_one_out")
CONTROLLER_RANGES = {
    "start_epoch": NOT_NEGATIVE,
    "updates": NOT_NEGATIVE,
    "samples": COUNT,
    "lr": NOT_NEGATIVE,
    "hidden": COUNT,
    "baseline_decay": SHARE,
    "entropy_weight": NOT_NEGATIVE,
}


@dataclass(frozen=True)
class ControllerSettings:
    """Controller and REINFORCE.

    Args:
        start_epoch: first epoch after which the controller is trained; uniform random β before (§4.2: 5).
        updates: updates an epoch, N_ctr; samples: architectures an update (§4.2: 10 and 2).
        lr: Adam's learning rate (§4.2: 3.5e-3); hidden: units of the LSTM and of its embedding.
        baseline: "ema" (decay ``baseline_decay``, kept across epochs) or "leave_one_out".
        entropy_weight: entropy bonus, falling linearly to 0 over the search.
    """

    start_epoch: int = 5
    updates: int = 10
    samples: int = 2
    lr: float = 3.5e-3
    hidden: int = 100
    baseline: str = "ema"
    baseline_decay: float = 0.9
    entropy_weight: float = 1e-3

    def __post_init__(self):
        check_ranges(self, CONTROLLER_RANGES, "search.controller.")
        if self.baseline not in BASELINES:
            raise ValueError(f"baseline must be one of {', '.join(BASELINES)}, but is {self.baseline!r}")
        if self.samples < (2 if self.baseline == "leave_one_out" else 1):
            raise ValueError(f"the baseline {self.baseline} needs more samples an update than {self.samples}")


class Controller(nn.Module):
    """An LSTM that emits D vectors of B Bernoulli decisions, each vector embedded as the next input.

    Bounds on the active branches of a vector condition its distribution: probabilities are renormalised over the
    allowed vectors, which without bounds is the product of independent Bernoullis.
    """

    def __init__(self, macro: MacroSpace, hidden: int = 100, seed: int = 0):
        super().__init__()
        self.num_decisions, self.num_branches = macro.num_decisions, macro.num_branches
        self.cell = nn.LSTMCell(hidden, hidden)
        self.embed = nn.Linear(self.num_branches, hidden)
        self.start = nn.Parameter(torch.zeros(1, hidden))
        self.head = nn.Linear(hidden, self.num_branches)
        self.register_buffer("allowed", torch.tensor(macro.allowed(), dtype=torch.float32), persistent=False)
        draws = generator(seed, "controller")
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1, generator=draws)

    def _unroll(self, choose: Callable[[int, Tensor], Tensor]) -> tuple[MacroArchitecture, Tensor, Tensor]:
        """Run the LSTM; ``choose(d, log-probabilities (A,))`` picks one of the A allowed vectors."""
        state, x = None, self.start
        rows, log_prob, entropy = [], torch.zeros(()), torch.zeros(())
        for d in range(self.num_decisions):
            state = self.cell(x, state)
            logits = self.head(state[0])[0]
            on, off = F.logsigmoid(logits), F.logsigmoid(-logits)
            log_probs = (self.allowed * on + (1 - self.allowed) * off).sum(-1).log_softmax(-1)
            index = choose(d, log_probs)
            rows.append(self.allowed[index].tolist())
            log_prob = log_prob + log_probs[index]
            entropy = entropy - (log_probs.exp() * log_probs).sum()
            x = self.embed(self.allowed[index][None])
        return MacroArchitecture.of(rows), log_prob, entropy

    def sample(self, draws: torch.Generator) -> tuple[MacroArchitecture, Tensor, Tensor]:
        """β drawn from the policy, its log-probability and the policy's entropy along it in nats, with gradients."""
        return self._unroll(lambda _, log_probs: torch.multinomial(log_probs.detach().exp(), 1, generator=draws)[0])

    def log_prob(self, beta: MacroArchitecture) -> tuple[Tensor, Tensor]:
        """Log-probability of β and the policy's entropy along it in nats, with gradients."""
        allowed = [tuple(map(bool, row)) for row in self.allowed.tolist()]
        return self._unroll(lambda d, _: allowed.index(beta.rows[d]))[1:]

    def mode(self) -> tuple[MacroArchitecture, Tensor, Tensor]:
        """The greedy β of the policy, its log-probability and entropy."""
        with torch.no_grad():
            return self._unroll(lambda _, log_probs: log_probs.argmax())

    @torch.no_grad()
    def probabilities(self) -> list[list[float]]:
        """Marginal probability (D, B) that each branch is active, along the greedy path."""
        found = []

        def remember(_, log_probs: Tensor) -> Tensor:
            found.append((log_probs.exp()[:, None] * self.allowed).sum(0).tolist())
            return log_probs.argmax()

        self._unroll(remember)
        return found


class Reinforce:
    """controller_update of Algorithm 1: ascend E[R] with the score function and a baseline."""

    def __init__(self, controller: Controller, settings: ControllerSettings):
        self.controller, self.settings = controller, settings
        self.optimizer = torch.optim.Adam(controller.parameters(), lr=settings.lr)
        self.baseline: float | None = None

    @torch.no_grad()
    def sample(self, draws: torch.Generator) -> list[MacroArchitecture]:
        """The β of an update, drawn from the policy."""
        return [self.controller.sample(draws)[0] for _ in range(self.settings.samples)]

    def learn(self, betas: Sequence[MacroArchitecture], rewards: Sequence[float], progress: float = 0.0) -> float:
        """One step from β drawn by ``sample`` and their rewards. Returns the policy's mean entropy along them, in nats.

        The advantage is taken before the baseline moves; ``progress`` in [0, 1] lowers the entropy bonus.

        Raises:
            Diverged: a reward is not finite.
        """
        settings = self.settings
        if not all(map(isfinite, rewards)):
            raise Diverged(f"a reward is not finite ({list(rewards)}): the controller is not updated with it")
        scored = [self.controller.log_prob(beta) for beta in betas]
        advantages = self._advantages(rewards)
        policy = torch.stack([-a * log_prob for a, (log_prob, _) in zip(advantages, scored, strict=True)]).mean()
        entropy = torch.stack([e for _, e in scored]).mean()
        self.optimizer.zero_grad()
        (policy - settings.entropy_weight * (1 - progress) * entropy).backward()
        self.optimizer.step()
        mean = sum(rewards) / len(rewards)
        decay = settings.baseline_decay
        self.baseline = mean if self.baseline is None else decay * self.baseline + (1 - decay) * mean
        return entropy.item()

    def _advantages(self, rewards: Sequence[float]) -> list[float]:
        if self.settings.baseline == "leave_one_out":
            total, others = sum(rewards), len(rewards) - 1
            return [r - (total - r) / others for r in rewards]
        baseline = sum(rewards) / len(rewards) if self.baseline is None else self.baseline
        return [r - baseline for r in rewards]

    def state_dict(self) -> dict:
        """Controller, optimizer and baseline."""
        return {
            "controller": self.controller.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "baseline": self.baseline,
        }

    def load_state_dict(self, state: dict) -> None:
        """The inverse of ``state_dict``."""
        self.controller.load_state_dict(state["controller"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.baseline = state["baseline"]
