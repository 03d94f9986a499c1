"""Algorithm 1's own: α by gradients, β by a controller that REINFORCE trains (§3.2.1)."""

from collections.abc import Sequence

import torch

from autopose.space import MacroArchitecture

from ..controller import Controller, Reinforce
from .base import Algorithm, Candidate, Task


class Policy(Algorithm):
    """Samples β from the controller; operations come from α."""

    purpose = "controller"

    def __init__(self, task: Task):
        super().__init__(task)
        settings = task.settings.controller
        self.reinforce = Reinforce(Controller(task.macro, settings.hidden, task.seed), settings)

    @property
    def controller(self) -> Controller:
        """The policy's network."""
        return self.reinforce.controller

    def ask(self, draws: torch.Generator) -> list[Candidate]:
        """``search.controller.samples`` draws of the policy."""
        return [Candidate(beta) for beta in self.reinforce.sample(draws)]

    def tell(self, candidates: Sequence[Candidate], rewards: Sequence[float], progress: float) -> dict:
        """A step of REINFORCE."""
        return {"entropy": self.reinforce.learn([each.beta for each in candidates], rewards, progress)}

    @torch.no_grad()
    def training_beta(self, draws: torch.Generator) -> MacroArchitecture:
        """A draw of the policy."""
        return self.controller.sample(draws)[0]

    def favourite(self) -> MacroArchitecture:
        """The policy's mode."""
        return self.controller.mode()[0]

    @torch.no_grad()
    def finalists(self, count: int, draws: torch.Generator) -> list[tuple[Candidate, str]]:
        """The mode and ``count`` samples (§3.3)."""
        samples = [(Candidate(self.controller.sample(draws)[0]), "sample") for _ in range(count)]
        return [(Candidate(self.favourite()), "mode"), *samples]

    def probabilities(self) -> list[list[float]]:
        """Marginal probabilities along the policy's mode."""
        return self.controller.probabilities()

    def records(self) -> dict:
        """The mode with its probability, the entropy along it (Fig. 6), the baseline."""
        beta, log_prob, entropy = self.controller.mode()
        return {
            "mode": str(beta), "mode_probability": float(log_prob.exp()), "entropy_policy": float(entropy),
            "baseline": self.reinforce.baseline,
        }  # fmt: skip

    def state_dict(self) -> dict:
        """Controller, optimizer, baseline."""
        return self.reinforce.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """The inverse of ``state_dict``."""
        self.reinforce.load_state_dict(state)
