"""The paper's equations written as loops over pixels: the truth for tiny networks. x is (N, C, H, W), float64 NumPy."""

import numpy as np


def relu(x):
    return np.maximum(x, 0)


def convolve(x, weight, stride=1):
    """Zero-padded convolution with weight (D, C, k, k), one output value at a time."""
    k = weight.shape[-1]
    padded = np.pad(x, ((0, 0), (0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    n, _, h, w = x.shape
    y = np.zeros((n, len(weight), (h - 1) // stride + 1, (w - 1) // stride + 1))
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            top, left = row * stride, column * stride
            patch = padded[:, :, top : top + k, left : left + k]
            y[:, :, row, column] = np.tensordot(patch, weight, ([1, 2, 3], [1, 2, 3]))
    return y


def normalise(x, eps=1e-5):
    """By the mean and biased variance of every channel of the batch."""
    mean = x.mean((0, 2, 3), keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean((0, 2, 3), keepdims=True) + eps)


def pool(x, reduce):
    """``reduce`` over the pixels of the 3x3 neighbourhood that lie inside the image."""
    y = np.zeros_like(x)
    for row in range(x.shape[2]):
        for column in range(x.shape[3]):
            inside = x[:, :, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            y[:, :, row, column] = reduce(inside, axis=(2, 3))
    return y


def operations(x, weights):
    """The six candidates of Eq. 4 for x and the three convolutions' weights."""
    found = [normalise(convolve(relu(x), weight)) for weight in weights]
    return [*found, normalise(pool(x, np.mean)), normalise(pool(x, np.max)), x]


def cell(inputs, num_nodes, convs, mix, compress):
    """Eqs. 2 and 3 with Eq. 4 on every edge; then concatenation and ReLU-1x1 convolution-BN."""
    states, edge = list(inputs), 0
    for _ in range(num_nodes):
        node = 0
        for x in list(states):
            candidates = operations(x, [weight[edge] for weight in convs])
            node = node + sum(mix[edge, k] * y for k, y in enumerate(candidates))
            edge += 1
        states.append(node)
    return normalise(convolve(relu(np.concatenate(states[len(inputs) :], 1)), compress))


def upsample(x, factor):
    """Nearest neighbour."""
    y = np.zeros((*x.shape[:2], x.shape[2] * factor, x.shape[3] * factor))
    for row in range(y.shape[2]):
        for column in range(y.shape[3]):
            y[:, :, row, column] = x[:, :, row // factor, column // factor]
    return y
