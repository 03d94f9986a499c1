"""What α would do if its gradients were noise: the line that a measured entropy must fall below to mean anything."""

import torch

from .randomness import generator

# Edges that are simulated; the mean over them errs by about a hundredth of a nat at most.
EDGES = 512


def noise_entropies(
    steps: list[int], num_ops: int, lr: float, betas: tuple[float, float], weight_decay: float, seed: int = 0
) -> list[float]:
    """Mean entropy in nats an edge of softmax(α) after so many steps on pure noise.

    Adam divides gradients by their own size, so that noise moves α as far as a signal would, and the entropy falls. The
    gradients are normal, independent, and sum to zero over an edge's operations, as those of a softmax do.

    Args:
        steps: numbers of steps, rising.
        num_ops: K operations an edge.
        lr, betas, weight_decay: of α's optimizer.
        seed: of the noise.
    """
    draws = generator(seed, "noise")
    alpha = torch.nn.Parameter(1e-3 * torch.randn(EDGES, num_ops, generator=draws))
    optimizer = torch.optim.AdamW([alpha], lr, betas, weight_decay=weight_decay)
    found, done = [], 0
    for wanted in steps:
        while done < wanted:
            gradient = torch.randn(EDGES, num_ops, generator=draws)
            alpha.grad = gradient - gradient.mean(1, keepdim=True)
            optimizer.step()
            done += 1
        logs = alpha.detach().log_softmax(-1)
        found.append(float(-(logs.exp() * logs).sum(-1).mean()))
    return found
