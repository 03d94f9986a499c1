"""Count multiply-adds and parameters: ``python -m autopose.flops architecture=PATH|hrnet|random|...``.

Without an architecture: the supernet with all branches on.
"""

import logging

from autopose.command import main
from autopose.config import Config
from autopose.errors import UserError
from autopose.functions import callable_module
from autopose.models import PoseNetwork
from autopose.report.flops import count, format_table
from autopose.runs.resolve import joints_of, resolve_architecture, sized
from autopose.runs.runtime import Runtime
from autopose.space import OPS
from autopose.space.macs import count_macs

logger = logging.getLogger("autopose")


def run(config: Config, runtime: Runtime) -> None:
    """Count by fvcore, check against the count by hand, print both conventions and the tables."""
    joints, size = joints_of(config), config.data.image_size
    if config.architecture:
        architecture = resolve_architecture(config, joints)
        width = sized(config, architecture, joints).train.width
        space, beta, cells = architecture.space(width), architecture.macro, architecture.cells
        affine, label = config.space.derived_affine, f"{config.architecture}, width x{width:g}, beta {beta}"
    else:
        space = config.space.search_space()
        beta, cells = space.macro.all_on(), [branch.cells() for branch in space.branches]
        affine, label = config.space.supernet_affine, "supernet, all branches"
    space.macro.check_image_size(size)
    found = count(PoseNetwork(space, joints, affine, config.kernels), size, beta)
    macs, by_hand = found.macs[""], count_macs(space.macro, beta, cells, size, joints)
    if macs != by_hand:
        what = f"fvcore counts {macs} multiply-adds, the count by hand gives {by_hand}"
        foreign = [op for op in space.operations if op not in OPS]
        if foreign:
            raise UserError(f"{what}: the macs of {' or '.join(foreign)} are wrong, give what its module multiplies")
        raise RuntimeError(what)
    logger.info("network    %s; %dx%d (width x height), %d joints", label, *size, joints)
    logger.info("space      10^%.2f architectures", config.space.search_space().log10_size())
    logger.info(
        "size       %.3f GMACs (10^9), %.3f GFLOPs as HRNet's papers print them (2^30)", macs / 1e9, macs / 2**30
    )
    logger.info("parameters %.3f M", found.parameters[""] / 1e6)
    logger.info("check      fvcore and the count by hand agree: %d multiply-adds of convolutions", macs)
    logger.info("\n%s", format_table(space.macro, found.macs, 1e9, "GMACs"))
    logger.info("\n%s", format_table(space.macro, found.parameters, 1e6, "parameters M"))


callable_module(__name__)
if __name__ == "__main__":
    main("flops", run)
