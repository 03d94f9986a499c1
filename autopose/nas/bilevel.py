"""Algorithm 1: the bilevel search. N images a batch; batches as in ``models.steps``."""

from dataclasses import dataclass
from math import cos, inf, pi

import torch
from torch import Tensor

from autopose.errors import UserError
from autopose.models import EdgeMixture, PoseNetwork, joints_mse_loss
from autopose.models.guard import BadSteps, Undo, step_unless
from autopose.models.pieces import Pieces
from autopose.models.steps import Batch, average_gradients, backward, fused
from autopose.space import MacroArchitecture

from .algorithms import Algorithm, Policy, Reward, Task, checked, uniform_beta
from .alpha import ArchitectureParameters
from .cost import Penalty
from .randomness import generator
from .settings import TRAINING_BETAS, BilevelSettings, beta_sampler


@dataclass
class Position:
    """Where a search stands: the next iteration and controller update of the current epoch."""

    epoch: int = 0
    iteration: int = 0
    controller_update: int = 0


class BilevelSearch:
    """ω, α and their optimizers, and who proposes β; ``cell_update`` and ``controller_update`` of Algorithm 1.

    Every random draw is a function of (seed, step), so ``state_dict`` is all that a bit-identical resume needs, and all
    processes of a distributed search draw alike.
    """

    def __init__(
        self,
        network: PoseNetwork,
        settings: BilevelSettings,
        seed: int,
        algorithm: type[Algorithm] = Policy,
        budget: int = 0,
        cost: Penalty | None = None,
        autocast: bool = False,
        pieces: Pieces | None = None,
    ):
        """
        Args:
            network: the supernet, placed.
            settings: schedule and optimizers.
            seed: of all that is drawn.
            algorithm: who proposes architectures.
            budget: how many it may have scored.
            cost: added to α's loss, where given.
            autocast: bfloat16 autocast of forward passes.
            pieces: what runs the parts of branches in the steps of ω and α, where given.
        """
        self.cost, self.autocast, self.pieces = cost, autocast, pieces
        self.network, self.settings, self.seed = network, settings, seed
        device = next(network.parameters()).device
        macro = network.space.macro
        self.alphas = ArchitectureParameters(network.space, seed).to(device)
        self.algorithm = algorithm(Task(macro, self.alphas, settings, seed, budget))
        weights = list(network.parameters())
        if settings.weight_optimizer == "adam":
            self.weight_optimizer = torch.optim.Adam(
                weights, settings.weight_lr, weight_decay=settings.weight_decay, fused=fused(device)
            )
        else:
            self.weight_optimizer = torch.optim.SGD(
                weights, settings.weight_lr, momentum=0.9, weight_decay=settings.weight_decay
            )
        # Decoupled decay: alpha's gradient is near 1e-6 under a heatmap loss, and L2 inside Adam (1e-3 alpha) held it
        # at 3e-3 in a search of 200 steps.
        self.alpha_optimizer = torch.optim.AdamW(
            self.alphas.parameters(), settings.alpha_lr, settings.alpha_betas, weight_decay=settings.alpha_weight_decay,
            fused=fused(device),
        )  # fmt: skip
        self.position = Position()
        self.bad_steps = BadSteps(settings.max_bad_steps)

    @property
    def step(self) -> int:
        """Global iteration."""
        return self.position.epoch * self.settings.iterations + self.position.iteration

    @property
    def progress(self) -> float:
        """Share of all iterations that is done, in [0, 1]."""
        return self.step / (self.settings.epochs * self.settings.iterations)

    @property
    def controller_active(self) -> bool:
        """Whether the algorithm is told rewards and followed in the current epoch (§4.2: from the fifth)."""
        return self.position.epoch >= self.settings.controller.start_epoch

    def training_beta(self, path: int = 0) -> MacroArchitecture:
        """β of a path of the current step: the algorithm's, uniform before it starts."""
        macro, mode = self.network.space.macro, self.settings.training_beta
        if self.network.space.beta is not None:
            return self.network.space.beta
        if mode == "all_on":
            return macro.all_on()
        draws = self._draws(path, "beta")
        if mode not in TRAINING_BETAS:
            return self._sampled_from_outside(mode, draws)
        if mode == "uniform" or not self.controller_active:
            return uniform_beta(macro, draws)
        return self.algorithm.training_beta(draws)

    def _sampled_from_outside(self, path: str, draws: torch.Generator) -> MacroArchitecture:
        """β of a function of another package: ``f(macro, draws, progress)``."""
        beta = beta_sampler(path)(self.network.space.macro, draws, self.progress)
        if not isinstance(beta, MacroArchitecture):
            raise UserError(f"search.training_beta={path} must return a MacroArchitecture, not {beta!r:.60}")
        try:
            self.network.space.macro.check(beta)
        except UserError as error:
            raise UserError(f"search.training_beta={path} returned an impossible beta: {error}") from None
        return beta

    def _draws(self, path: int, *purpose: str) -> torch.Generator:
        """Random numbers of a path of the current step."""
        return generator(self.seed, *purpose, self.step, *[path] * (path > 0))

    def mixtures(self, purpose: str, path: int = 0) -> list[dict[str, EdgeMixture]]:
        """The relaxed operations of a path of the current step; one-hot ones at random where α is not searched."""
        draws = self._draws(path, "gumbel", purpose)
        if self.algorithm.operations == "random":
            if self.settings.sampling == "fair":
                return self.alphas.fixed(self.alphas.fair_ops(self.seed, self.step * self.settings.paths + path))
            return self.alphas.fixed(self.alphas.random_ops(draws))
        return self.alphas.sample(self.settings.gumbel, self.progress, draws)

    def loss(self, batch: Batch, beta: MacroArchitecture, mixtures: list[dict[str, EdgeMixture]]) -> Tensor:
        """Mean squared error of the heatmaps under (ω, α, β)."""
        with torch.autocast(batch["image"].device.type, torch.bfloat16, enabled=self.autocast):
            heatmaps = self.network(batch["image"], beta, mixtures, self.pieces)
        return joints_mse_loss(heatmaps, batch["target"], batch["target_weight"])

    def cell_update(self, weight_batch: Batch, alpha_batch: Batch) -> dict[str, Tensor]:
        """Function cell_update(β) of Algorithm 1, first order: a step of ω, then one of α. Returns both losses ().

        A step that is not finite is skipped; ``bad_steps.read`` counts it. The host waits for nothing in here, but
        for the operations that the relaxation "one_op" chooses by α.
        """
        betas = [self.training_beta(path) for path in range(self.settings.paths)]
        self._cosine_lr()
        found = {"loss_train": self._weight_step(weight_batch, betas)}
        if self.algorithm.operations == "alpha" and self.position.epoch >= self.settings.alpha_start_epoch:
            found["loss_val"] = self._alpha_step(alpha_batch, betas[0])
        self.position.iteration += 1
        return found

    def controller_update(self, reward: Reward) -> dict:
        """One of the N_ctr updates of Function controller_update of Algorithm 1, ω and α fixed.

        Returns the rewards, the β that got them, and what the algorithm has to record.
        """
        algorithm, position = self.algorithm, self.position
        draws = generator(self.seed, algorithm.purpose, position.epoch, position.controller_update)
        candidates = checked(algorithm.ask(draws), algorithm.task, type(algorithm).__name__)
        rewards = reward(candidates)
        told = algorithm.tell(candidates, rewards, self.progress)
        position.controller_update += 1
        return {"rewards": rewards, "betas": [str(each.beta) for each in candidates], **told}

    def next_epoch(self) -> None:
        """Move to the first iteration of the next epoch."""
        self.position = Position(self.position.epoch + 1)

    def _weight_step(self, batch: Batch, betas: list[MacroArchitecture]) -> Tensor:
        """Descend the gradient of L_train with respect to ω (step 1), the mean of all paths'."""
        active = list(dict.fromkeys(p for beta in betas for p in self.network.active_parameters(beta)))
        self.weight_optimizer.zero_grad()
        # A batch that is not finite would stay in the running statistics for ever.
        undo = Undo(self.network.buffers() if self.network.state.updates else ())
        with torch.no_grad():
            paths = [(beta, self.mixtures("weights", path)) for path, beta in enumerate(betas)]
        micro = iter([path for path in paths for _ in range(self.settings.accumulate)])
        loss = backward(batch, len(paths) * self.settings.accumulate, lambda part: self.loss(part, *next(micro)))
        average_gradients(active)
        norm = torch.nn.utils.clip_grad_norm_(active, self.settings.grad_clip or inf)
        bad = self.bad_steps.judge(norm, self.step)
        self._move_weights(active, bad)
        undo(bad)
        return loss

    @torch.no_grad()
    def _move_weights(self, active: list[torch.nn.Parameter], bad: Tensor) -> None:
        """The optimizer's step, unless it is bad; stacked operations without a part in the batch stay where they are.

        They have gradients of exactly zero, and momentum would move them all the same.
        """
        single = self.algorithm.operations == "random" or self.settings.gumbel.relaxation == "one_op"
        stacked = [p for p in active if single and p.ndim == 5 and p.grad is not None]
        idle = [(p.grad == 0).flatten(1).all(1)[(..., *[None] * 4)] for p in stacked]
        kept = [p.clone() for p in stacked]
        step_unless(bad, self.weight_optimizer)
        for parameter, rows, values in zip(stacked, idle, kept, strict=True):
            parameter.copy_(torch.where(rows, values, parameter))

    def _alpha_step(self, batch: Batch, beta: MacroArchitecture) -> Tensor:
        """Descend the gradient of L_val with respect to α (step 2); ω needs no gradient."""
        self.alpha_optimizer.zero_grad()
        self.network.requires_grad_(False)
        mode = self.network.state.mode
        # Running statistics belong to ω: a step of α reads its own batch's and moves none.
        self.network.set_norm("batch")
        try:
            # The relaxation is made anew for every micro-batch, since backward frees its graph.
            loss = backward(batch, self.settings.accumulate, lambda micro: self._alpha_loss(micro, beta))
        finally:
            self.network.requires_grad_(True)
            self.network.set_norm(mode)
        for alpha in self.alphas.unused(beta):
            alpha.grad = None
        used = [alpha for alpha in self.alphas.parameters() if alpha.grad is not None]
        average_gradients(used)
        if used:
            norm = torch.nn.utils.get_total_norm([alpha.grad for alpha in used])
            step_unless(self.bad_steps.judge(norm, self.step), self.alpha_optimizer)
        return loss

    def _alpha_loss(self, batch: Batch, beta: MacroArchitecture) -> Tensor:
        """L_val, and the share of it that the expected cost adds."""
        loss = self.loss(batch, beta, self.mixtures("alpha"))
        return loss if self.cost is None else loss + loss.detach() * self.cost.expected(self.alphas, beta)

    def _cosine_lr(self) -> None:
        high, low = self.settings.weight_lr, self.settings.weight_lr_end
        for group in self.weight_optimizer.param_groups:
            group["lr"] = low + 0.5 * (high - low) * (1 + cos(pi * self.progress))

    def state_dict(self) -> dict:
        """Everything that a bit-identical resume needs."""
        return {
            "network": self.network.state_dict(),
            "alphas": self.alphas.state_dict(),
            "algorithm": self.algorithm.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "position": vars(self.position).copy(),
            "bad_steps": self.bad_steps.state_dict(),
        }

    def load_state_dict(self, state: dict) -> None:
        """The inverse of ``state_dict``."""
        for name in ("network", "alphas", "weight_optimizer", "alpha_optimizer"):
            getattr(self, name).load_state_dict(state[name])
        # Until there was more than one algorithm, its state stood under the name of Algorithm 1's.
        self.algorithm.load_state_dict(state["algorithm"] if "algorithm" in state else state["reinforce"])
        self.position = Position(**state["position"])
        self.bad_steps.load_state_dict(state["bad_steps"])
