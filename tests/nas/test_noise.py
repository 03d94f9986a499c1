"""The entropy of α under noise: of the simulation, and of α's real optimizer fed with noise."""

import math

import torch

from autopose.nas import ArchitectureParameters
from autopose.nas.noise import noise_entropies
from autopose.space import MacroSpace, SearchSpace


def test_an_alpha_that_sees_noise_lies_on_the_line_and_one_with_a_signal_below_it():
    settings = dict(lr=5e-2, betas=(0.5, 0.999), weight_decay=1e-3)
    steps = [0, 40, 120]
    line = noise_entropies(steps, 6, **settings)
    assert abs(line[0] - math.log(6)) < 1e-3 and line[0] > line[1] > line[2]
    # A real set of α, gradients a millionth as large, and another seed.
    found = {}
    for signal in (0.0, 1.0):
        alphas = ArchitectureParameters(SearchSpace.full(MacroSpace((16, 32, 64, 128), 3, 2, 4, 2)), 3)
        optimizer = torch.optim.AdamW(alphas.parameters(), settings["lr"], settings["betas"], weight_decay=1e-3)
        draws = torch.Generator().manual_seed(1)
        for _ in range(120):
            for alpha in alphas.parameters():
                noise = torch.randn(alpha.shape, generator=draws)
                noise[:, 1] -= signal
                alpha.grad = 1e-6 * (noise - noise.mean(1, keepdim=True))
            optimizer.step()
        entropies = alphas.entropy().values()
        found[signal] = sum(entropies) / len(entropies)
    assert abs(found[0.0] - line[2]) < 0.05
    assert found[1.0] < line[2] - 0.2
