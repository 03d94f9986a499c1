"""The formulas of docs/kernels.md against autograd, in float64: what the fused kernels compute, written plainly."""

import torch


def test_folded_normalisation_and_its_gradients():
    torch.manual_seed(0)
    pixels, channels, eps = 50, 4, 1e-5
    y, gamma, b = torch.randn(pixels, channels), torch.randn(channels), torch.randn(channels)
    y, gamma, b, w = (t.double().requires_grad_() for t in (y * 2 + 3, gamma, b, torch.tensor(0.3)))
    g = torch.randn(pixels, channels).double()

    out = w * torch.nn.functional.batch_norm(y, None, None, gamma, b, True, 0.1, eps)
    expected = torch.autograd.grad(out, (y, gamma, b, w), g)

    with torch.no_grad():
        mu, r = y.mean(0), (y.var(0, correction=0) + eps).rsqrt()
        scale, offset = w * gamma * r, w * (b - gamma * mu * r)
        torch.testing.assert_close(scale * y + offset, out, rtol=1e-12, atol=1e-12)
        sum_g, t = g.sum(0), (g * (y - mu)).sum(0)
        a = w * gamma * r
        factor = -a * r**2 * t / pixels
        shift = -a * sum_g / pixels - factor * mu
        found = a * g + factor * y + shift, w * r * t, w * sum_g, (gamma * r * t + b * sum_g).sum()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_parts_of_moments_combine_to_those_of_all():
    torch.manual_seed(1)
    y = torch.randn(96, 3).double() + 100
    parts = y.split(32)
    counts, means = torch.tensor([len(p) for p in parts]).double()[:, None], torch.stack([p.mean(0) for p in parts])
    deviations = torch.stack([(p - p.mean(0)).square().sum(0) for p in parts])
    shift = means[0]
    mean = shift + (counts * (means - shift)).sum(0) / len(y)
    spread = (deviations + counts * (means - shift).square()).sum(0) / len(y) - (mean - shift).square()
    torch.testing.assert_close(mean, y.mean(0))
    torch.testing.assert_close(spread, y.var(0, correction=0))
