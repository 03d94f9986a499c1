"""Search an architecture: ``python -m autopose.search experiment=quick``."""

from autopose.command import main, overrides
from autopose.config import Config
from autopose.engine.bill import bill_of_search, show_cost
from autopose.engine.reports import report_search
from autopose.engine.search import SearchRun
from autopose.functions import callable_module
from autopose.report.printed import print_found
from autopose.runs.runtime import Runtime
from autopose.space import Architecture


def run(config: Config, runtime: Runtime) -> Architecture | None:
    """Search, derive and print what was found and how to train it; with ``dry_run`` only what it would cost."""
    search = SearchRun(config, runtime)
    if config.dry_run:
        bill_of_search(search).show()
        return None
    architecture = search.run()
    if runtime.is_main:
        joints = search.bilevel.network.num_joints
        following = print_found(architecture, config, runtime.folder, joints)
        show_cost(search.clock.report(), runtime.folder / "checkpoints")
        report_search(search, architecture, overrides(), following)
    return architecture


callable_module(__name__)
if __name__ == "__main__":
    main("search", run)
