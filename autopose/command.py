"""What every command line shares: composing the configuration, one-sentence errors, exit codes."""

import os
import sys
from collections.abc import Callable

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from autopose.config import Config, from_hydra
from autopose.errors import Diverged, UserError
from autopose.runs.runtime import Interrupted, Runtime, finish, start


def main(task: str, run: Callable[[Config, Runtime], None]) -> None:
    """Run ``run`` under the configuration of the command line. Exit codes: 2 a user's mistake, 3 a diverged run,
    128 + n after signal n."""
    if int(os.environ.get("RANK", 0)) > 0:
        # Hydra makes a folder for every process; the first one's is used by all.
        sys.argv += ["hydra.run.dir=.", "hydra.output_subdir=null"]

    @hydra.main(version_base="1.3", config_path="pkg://autopose.configs", config_name=task)
    def job(composed: DictConfig) -> None:
        code = execute(run, composed, HydraConfig.get().runtime.output_dir)
        if code:
            sys.exit(code)

    job()


def execute(run: Callable[[Config, Runtime], None], composed: DictConfig, folder: str) -> int:
    """Run ``run`` in ``folder``; returns the exit code, a user's mistake being one sentence on stderr."""
    runtime = None
    try:
        config = from_hydra(composed)
        runtime = start(config.device, folder, config.threads, config.deterministic)
        run(config, runtime)
    except (UserError, Diverged) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UserError) else 3
    except Interrupted as interrupted:
        print(interrupted)
        return interrupted.exit_code
    except KeyboardInterrupt:
        print("stopped at once: resume=auto with the same hydra.run.dir continues from the last checkpoint")
        return 130
    finally:
        finish(runtime)
    return 0


def overrides() -> list[str]:
    """The overrides of the command line, as in ["data.root=...", "experiment=lsp"]; none without a command line."""
    if not HydraConfig.initialized():
        return []
    return list(HydraConfig.get().overrides.task)
