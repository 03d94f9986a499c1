"""The loss of search and training (§3.2.2: mean squared error of heatmaps)."""

from torch import Tensor


def joints_mse_loss(heatmaps: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Mean over samples, joints and pixels of 0.5 (weight (heatmap - target))^2, in at least float32.

    Args:
        heatmaps, target: (N, K, H, W).
        weight: (N, K), 0 for joints without a label; such joints stay in the mean's denominator.

    The factor 0.5 and the denominator N K H W are HRNet's ``JointsMSELoss``.
    """
    wide = heatmaps.float() if heatmaps.element_size() == 2 else heatmaps
    difference = (wide - target) * weight[:, :, None, None]
    return 0.5 * difference.square().mean()
