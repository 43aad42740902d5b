"""Several devices and hosts give what one gives; places and what is refused."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from fmb.fit.cluster import join
from fmb.fit.cluster_options import ClusterOptions
from fmb.fit.parallel import bytes_of, find_places, over_slots, ray_mesh, room

ROOT = Path(__file__).resolve().parents[2]


def child(*words: str) -> subprocess.Popen:
    """tests/fit/devices.py in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if name not in ("JAX_PLATFORMS", "XLA_FLAGS")}
    command = [sys.executable, str(ROOT / "tests" / "fit" / "devices.py"), *words]
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def told(process: subprocess.Popen) -> dict[str, list[str]]:
    """What it prints, by the first word of each line."""
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, err[-3000:]
    return {words[0]: words[1:] for words in map(str.split, out.splitlines())}


@pytest.mark.slow
def test_eight_devices_and_two_hosts_give_what_one_device_gives():
    found = told(child())
    assert float(found["SLOTS"][0]) < 1e-6, "float32; XLA shares out sums among threads by their number"
    assert float(found["RAYS"][0]) < 1e-5, "float32, and sums of eight parts"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    hosts = [told(process) for process in [child(address, str(number)) for number in range(2)]]
    single = np.array(found["LOSS"], float)
    for host in hosts:
        assert "the" in host, "hosts that see other data are told"
        np.testing.assert_allclose(np.array(host["LOSS"], float), single, rtol=1e-5)
    assert hosts[0]["LOSS"] == hosts[1]["LOSS"]


def test_places_have_room():
    places = find_places(1000, 1)
    assert (places.mesh.size, places.each, places.together) == (1, 4, False)
    assert find_places(1000, 1, 3).count == 3

    class Full:
        def memory_stats(self):
            return {"bytes_limit": 10_000, "bytes_in_use": 2_000}

    assert [room(Full(), size, True) for size in (1000, 10**6, 1)] == [4, 1, 256]
    assert bytes_of({"a": np.zeros((3, 2), np.float32), "b": np.zeros(1, np.int32)}) == 28
    doubled = over_slots(lambda x, y: 2 * x + y, places)
    np.testing.assert_array_equal(doubled(np.arange(4.0), jax.numpy.ones(4)), [1, 3, 5, 7])


def test_refusals():
    with pytest.raises(ValueError, match="batch_devices is 4000; must be at most 1"):
        find_places(1, 4000)
    with pytest.raises(ValueError, match="fit_devices is 4000; must be at most 1"):
        ray_mesh(4000, 8000)
    assert ray_mesh(0, 5).size == 1 and join(ClusterOptions()) == 0
    with pytest.raises(ValueError, match="host_number is 2; must be below host_count, 2"):
        join(ClusterOptions("127.0.0.1:1", 2, 2))
    with pytest.raises(ValueError, match="coordinator is slurm; this is no step of a SLURM job"):
        join(ClusterOptions("slurm"))
