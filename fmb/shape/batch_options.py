"""Options of many shapes in one run."""

from dataclasses import dataclass

from fmb.options import NONE, option


@dataclass(frozen=True)
class BatchOptions:
    """Many shapes in one run: task batch."""

    batch_task: str = option("shape", "What is done with each input", choices=("shape", "convert", "points"))
    batch_names: str = option(
        "stem",
        "What results are called: the file's name, or its path below the folder of all inputs",
        choices=("stem", "path"),
    )
    shard: str = option("1/1", "Part of the inputs that this job takes: 3/8 is the third of eight")
    batch_workers: int = option(
        0,
        "Processes that prepare fits and write results (0: one a core; 1: none beside this)",
        at_least=0,
        at_most=1024,
    )
    batch_devices: int = option(
        0, "Devices that the fits are spread over (0: all; one a core)", at_least=0, at_most=4096
    )
    batch_slots: int = option(
        0, "Fits at a time on each device (0: 4 on a CPU, elsewhere what has room)", at_least=0, at_most=4096
    )
    slurm_jobs: int = option(0, "Jobs of a SLURM cluster, a shard each (0: none)", at_least=0, at_most=10_000)
    slurm_partition: str = option(NONE, "Partition of the cluster (none: its default)")
    slurm_minutes: int = option(240, "Minutes that a job may take", at_least=1, at_most=10**6)
