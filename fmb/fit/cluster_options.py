"""Options of a run on several hosts."""

from dataclasses import dataclass

from fmb.options import NONE, option


@dataclass(frozen=True)
class ClusterOptions:
    """One fit on several hosts: each runs the same command."""

    coordinator: str = option(
        NONE, "Address of the first host, HOST:PORT, or slurm, which knows it (none: this host alone)"
    )
    host_count: int = option(1, "Number of hosts, where it is not slurm that knows it", at_least=1, at_most=100_000)
    host_number: int = option(0, "Number of this host among them, from 0", at_least=0, at_most=99_999)
