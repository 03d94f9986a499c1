"""The health of a search, measured every epoch: what collapses, and whether the reward tells anything."""

import logging
from statistics import pstdev

from autopose.engine.reward import RewardScorer
from autopose.nas import BilevelSearch

logger = logging.getLogger("autopose")
SKIP_ALARM = 0.6


def epoch_health(search: BilevelSearch, reward: RewardScorer, updates: list[dict], thorough: bool) -> dict:
    """Numbers for ``metrics.jsonl``.

    ``supernet_reward`` is the reward of the algorithm's favourite β, ``supernet_beta`` (of the policy: its mode, before
    it is trained too; of an algorithm without a favourite: all branches); ``entropy_alpha`` by branch, and
    ``entropy_policy`` of a policy, are Fig. 6's; ``share`` of skip connections and pools among the argmax operations;
    ``loss_relaxed`` and ``loss_argmax`` on the reward subset, whose gap is what discretisation costs; ``reward_spread``
    over sampled β against ``reward_noise``, the deviation of one β's reward over three compositions of the batches.
    """
    beta = search.algorithm.favourite()
    sampled = [value for update in updates for value in update["rewards"]]
    entropies = search.alphas.entropy()
    shares = search.alphas.shares()
    row = {
        "supernet_reward": reward(beta),
        "supernet_beta": str(beta),
        "entropy_alpha": {
            **{str(b): e for b, e in entropies.items()},
            "mean": sum(entropies.values()) / len(entropies),
        },
        "reward": sum(sampled) / len(sampled) if sampled else None,
        "share": shares,
        "bad_steps": search.bad_steps.count,
        **search.algorithm.records(),
    }
    if thorough:
        row["loss_relaxed"], row["loss_argmax"] = reward.loss(beta, True), reward.loss(beta, False)
        repeated = [row["supernet_reward"], *(reward.score(beta, shuffle=seed) for seed in (1, 2))]
        row["reward_noise"] = pstdev(repeated)
        row["reward_spread"] = pstdev(sampled) if len(sampled) > 1 else None
    if shares["skip"] > SKIP_ALARM:
        logger.warning(
            "skip connections lead on %.0f %% of the edges: the cells are collapsing; search.gumbel.skip_dropout, "
            "search.alpha_start_epoch or search.max_skips counter it", 100 * shares["skip"],
        )  # fmt: skip
    return row
