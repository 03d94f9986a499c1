"""Micro-batches, shared by search and training."""

import pytest
import torch

from autopose.models import joints_mse_loss
from autopose.models.steps import backward, micro_batches


def batch(count: int) -> dict[str, torch.Tensor]:
    draws = torch.Generator().manual_seed(count)
    shapes = {"image": (3, 4, 4), "target": (2, 4, 4), "target_weight": (2,)}
    return {name: torch.rand(count, *shape, generator=draws, dtype=torch.float64) for name, shape in shapes.items()}


@pytest.mark.parametrize(("count", "parts"), [(16, 5), (16, 1), (5, 5), (7, 3)])
def test_gradients_do_not_depend_on_the_number_of_micro_batches(count, parts):
    whole, found = batch(count), []
    for number in (1, parts):
        scale = torch.ones(2, 1, 1, dtype=torch.float64, requires_grad=True)
        loss = backward(
            whole, number, lambda b, s=scale: joints_mse_loss(b["image"][:, :2] * s, b["target"], b["target_weight"])
        )
        found.append((loss.item(), scale.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-12, atol=0)


def test_micro_batches_hold_every_image_once_and_their_shares_sum_to_one():
    whole = batch(16)
    parts = list(micro_batches(whole, 5))
    assert [len(part["image"]) for part, _ in parts] == [4, 3, 3, 3, 3]
    assert sum(share for _, share in parts) == pytest.approx(1)
    for name, tensor in whole.items():
        assert torch.equal(torch.cat([part[name] for part, _ in parts]), tensor)
