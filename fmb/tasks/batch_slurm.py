"""Shards of a batch as jobs of a SLURM cluster, by submitit."""

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from fmb import machine
from fmb.command.yaml_file import to_yaml
from fmb.config import CHECKOUT, INSTALLED, Config
from fmb.options import NONE

MISSING = "--slurm-jobs needs the package submitit: pip install submitit, or the extra `batch`"
PROGRAM = ["-m", "run_fmb"] if INSTALLED.is_dir() else [str(CHECKOUT / "run_fmb.py")]


def submit(config: Config, place: Path, cluster: str = "slurm") -> list[Any]:
    """Submits a job for each shard; what submitit gives for them.

    Raises ValueError where submitit or SLURM is not here.
    """
    try:
        import submitit
        from submitit.helpers import CommandFunction
    except ImportError:
        raise ValueError(MISSING) from None
    if cluster == "slurm" and shutil.which("sbatch") is None:
        raise ValueError(f"--slurm-jobs {config.batch.slurm_jobs}: there is no sbatch here")
    folder = machine.prepare_output_dir(place / "slurm")
    machine.write_text(folder / "config.yaml", to_yaml(replace(config, batch=replace(config.batch, slurm_jobs=0))))
    executor = submitit.AutoExecutor(folder=folder / "logs", cluster=cluster)
    executor.update_parameters(name="fuzzy-metaballs", timeout_min=config.batch.slurm_minutes)
    if cluster == "slurm" and config.batch.slurm_partition != NONE:
        executor.update_parameters(slurm_partition=config.batch.slurm_partition)
    commands = [command_of(config, folder, number) for number in range(1, config.batch.slurm_jobs + 1)]
    with executor.batch():
        return [executor.submit(CommandFunction(command)) for command in commands]


def command_of(config: Config, folder: Path, number: int) -> list[str]:
    """What the job of that shard runs."""
    inputs = [str(Path(word).absolute()) for word in config.several]
    flags = ["--config", str((folder / "config.yaml").absolute()), "--shard", f"{number}/{config.batch.slurm_jobs}"]
    flags += ["--output-dir", str(folder.parent.absolute())]
    switches = [f"--{name}" for name in ("cpu", "overwrite") if getattr(config, name)]
    return [sys.executable, *PROGRAM, "batch", *inputs, *flags, *switches]
