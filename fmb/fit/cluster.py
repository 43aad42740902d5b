"""Several hosts in one run, by jax.distributed."""

import os

import jax
import numpy as np

from fmb.fit.cluster_options import ClusterOptions
from fmb.options import NONE

PATIENCE = 120  # seconds until hosts that do not come are given up


def join(options: ClusterOptions) -> int:
    """The number of this host, once all have met; 0 where there is one. Nothing may have been computed before.

    Raises ValueError where they do not meet.
    """
    if options.coordinator == NONE:
        return 0
    if options.host_number >= options.host_count:
        raise ValueError(f"host_number is {options.host_number}; must be below host_count, {options.host_count}")
    if options.coordinator == "slurm" and "SLURM_STEP_NODELIST" not in os.environ:
        raise ValueError("coordinator is slurm; this is no step of a SLURM job (start it by srun)")
    known = (
        {}
        if options.coordinator == "slurm"
        else {
            "coordinator_address": options.coordinator,
            "num_processes": options.host_count,
            "process_id": options.host_number,
        }
    )
    try:
        jax.distributed.initialize(**known, initialization_timeout=PATIENCE)
    except (RuntimeError, ValueError) as error:
        words = (str(error).splitlines() or [""])[0]
        raise ValueError(f"coordinator is {options.coordinator}: the hosts do not meet ({words[:160]})") from error
    return jax.process_index()


def check_alike(digest: str) -> None:
    """Raises ValueError where the hosts have not the same data: their fits would drift apart."""
    if jax.process_count() == 1:
        return
    from jax.experimental import multihost_utils

    mine = np.frombuffer(digest.encode(), np.uint8)
    if not (multihost_utils.process_allgather(mine) == mine[None]).all():
        raise ValueError("the hosts see other views; use --ground-truth raycast, and the same files")
