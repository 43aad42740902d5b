"""Disk, screen, clock and device for scripts beside the program; the program itself has them in fmb/machine.py.

They stand there because every program has a util.py, and one of yours would hide this one.
"""

from fmb.machine import (
    Clock,
    Device,
    choose_device,
    prepare_output_dir,
    progress_bar,
    replacing,
    say,
    write_columns,
    write_metrics,
    write_picture,
    write_text,
)

__all__ = [
    "Clock",
    "Device",
    "choose_device",
    "prepare_output_dir",
    "progress_bar",
    "replacing",
    "say",
    "write_columns",
    "write_metrics",
    "write_picture",
    "write_text",
]
