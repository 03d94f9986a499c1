"""The six candidate operations of an edge (§3.1.2), in the order in which α, mixing weights and kernels count them."""

OPS = ("conv_1x1", "conv_3x3", "conv_5x5", "avg_pool_3x3", "max_pool_3x3", "skip_connect")
