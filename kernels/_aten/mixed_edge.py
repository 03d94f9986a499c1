"""Mixed edges of a cell with batched convolutions and shared pools."""

from collections.abc import Sequence

from torch import Tensor

from ..reference import mixed_edges as _plain


def mixed_edges(
    inputs: Sequence[Tensor],
    num_nodes,
    conv1,
    conv3,
    conv5,
    mix,
    *,
    norm_weight=None,
    norm_bias=None,
    statistics=None,
    eps=1e-5,
    process_group=None,
):
    """(nodes, mean (E, 5, C), var (E, 5, C)); arguments as the public function's."""
    shape = (mix.shape[0], 5, inputs[0].shape[1])
    if statistics is not None:
        mean, var = statistics
        nodes = _plain(
            inputs,
            num_nodes,
            conv1,
            conv3,
            conv5,
            mix,
            norm_weight=norm_weight,
            norm_bias=norm_bias,
            running_mean=mean,
            running_var=var,
            training=False,
            eps=eps,
        )
        return nodes, mean, var
    mean, var = mix.new_zeros(shape), mix.new_zeros(shape)
    nodes = _plain(
        inputs,
        num_nodes,
        conv1,
        conv3,
        conv5,
        mix,
        norm_weight=norm_weight,
        norm_bias=norm_bias,
        running_mean=mean,
        running_var=var,
        momentum=1.0,
        eps=eps,
        process_group=process_group,
    )
    count = inputs[0].numel() // inputs[0].shape[1]
    return nodes, mean, var * ((count - 1) / count)
