"""Derive from a search checkpoint: ``python -m autopose.derive checkpoint=PATH search.derive_samples=20``."""

from autopose.command import main, overrides
from autopose.config import Config, from_checkpoint
from autopose.engine.reports import report_search
from autopose.engine.search import SearchRun
from autopose.errors import UserError
from autopose.functions import callable_module
from autopose.report.architecture_figure import draw_architecture
from autopose.report.printed import print_found
from autopose.runs.checkpoint import read_checkpoint
from autopose.runs.runtime import Runtime
from autopose.space import Architecture


def run(config: Config, runtime: Runtime) -> Architecture:
    """Rebuild the supernet of the checkpoint, score N sampled β and the policy's mode, write the best (§3.3)."""
    if not config.checkpoint:
        raise UserError("derive needs a search checkpoint: checkpoint=outputs/search/.../checkpoints/last.pt")
    content = read_checkpoint(config.checkpoint, "search")
    config = from_checkpoint(content["config"], config, overrides())
    search = SearchRun(config, runtime)
    search.load(content)
    architecture = search.derive()
    if runtime.is_main:
        architecture.save(runtime.folder / "architecture.json")
        draw_architecture(architecture, runtime.folder / "architecture.png")
        following = print_found(architecture, config, runtime.folder, search.bilevel.network.num_joints)
        report_search(search, architecture, overrides(), following, "derive")
    return architecture


callable_module(__name__)
if __name__ == "__main__":
    main("derive", run)
