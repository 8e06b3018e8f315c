"""Other processors: switches that change the kernels of libraries, and what verification says of other last bits."""

import platform
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from .conftest import ROOT

SWITCHES = ROOT / "envs" / "other_processor.env"
MODEL = "data/models/shapes-tiny/model.safetensors"
TABLES = ("tables", "results/summary.json")
# Kernels by their library; each line is the name, whether the switch arrived, and a hash of what was computed.
PROBE = """
import hashlib, math, numpy as np, scipy.linalg, threadpoolctl, torch
from numpy._core._multiarray_umath import __cpu_features__ as features
random = np.random.default_rng(0)
values = random.random((200, 300), dtype=np.float32)
tensor, square = torch.from_numpy(values), random.random((300, 300))
blas = {pool["architecture"] for pool in threadpoolctl.threadpool_info() if pool["internal_api"] == "openblas"}
kernels = {
    "numpy": (not features["X86_V3"], np.exp(values)),
    "openblas": (blas == {"Nehalem"}, square @ square),
    "aten": (torch.backends.cpu.get_cpu_capability() == "DEFAULT", torch.softmax(tensor, -1).numpy()),
    "mkl": (None, (tensor @ tensor.T).numpy()),
    "onednn": (None, torch.nn.functional.conv2d(tensor[None, None], tensor[None, None, :8, :8]).numpy()),
    "libm": (None, np.array([math.exp(value) for value in 20 * square.ravel() - 10])),
}
for name, (arrived, result) in kernels.items():
    print(name, arrived, hashlib.sha256(np.ascontiguousarray(result).tobytes()).hexdigest())
"""


def computed(shell=""):
    """What the probe prints, by kernel."""
    command = ["bash", "-c", f'{shell} exec "$0" -c "$1"', sys.executable, PROBE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return {name: (arrived, digest) for name, arrived, digest in map(str.split, done.stdout.splitlines())}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the switches are those of x86 processors")
def test_the_switches_of_another_processor_reach_every_library():
    here, there = computed(), computed(f"set -a; source {SWITCHES}; set +a;")
    assert [there[name][0] for name in ("numpy", "openblas", "aten")] == ["True"] * 3
    same = {name for name in here if here[name][1] == there[name][1]}
    assert same <= {"mkl"}, "this one is limited to AVX2, which may be all that there is"


def with_weights_moved(clone, by):
    """Move every weight of the model by so large a share of itself, and compute the tables."""
    random = torch.Generator().manual_seed(1)
    weights = {name: weight.float() for name, weight in load_file(ROOT / MODEL).items()}
    moved = {name: w * (1 + by * torch.randn(w.shape, generator=random)) for name, w in weights.items()}
    save_file(moved, clone.folder / MODEL, metadata={"format": "pt"})
    clone.run("snakemake", "--cores", "2", *TABLES)


@pytest.mark.xdist_group("dag")
def test_last_bits_are_within_tolerance_and_a_hundredth_is_not(pulled):
    """The whole way from weights to tables: float32 keeps seven digits, so a change of 1e-7 is one of last bits."""
    before = pulled.bytes_made()
    with_weights_moved(pulled, 1e-7)
    shards = [name for name in before if name.endswith(".nc") and "attention" in name and "random_weights" not in name]
    assert all((pulled.folder / name).read_bytes() != before[name] for name in shards)
    told = pulled.run("atlas", "verify")
    assert "DIFFERS" not in told
    with_weights_moved(pulled, 1e-2)
    told = pulled.run("atlas", "verify", fails=True)
    measured = ("table1", "steps", "ablation", "layer_profile", "layer_step", "vision_mass", "grounding", "contrasts")
    for name in measured:
        assert f"DIFFERS               paper/tables/shapes/shapes-tiny/{name}.csv" in told
    assert "DIFFERS               summary.json" in told
