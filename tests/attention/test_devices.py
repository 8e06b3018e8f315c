"""Claims of GPUs, by real processes that see invented devices."""

import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from attention_atlas.attention import devices, models
from attention_atlas.config import ModelEntry
from attention_atlas.errors import AtlasError

# A process that claims, prints its devices' UUIDs or the refusal, and keeps them until its input ends. Its torch is an
# invented one: the devices are named on the command line.
CLAIMER = """
import json, logging, signal, sys, types
logging.basicConfig(level="INFO")
signal.alarm(45)  # whoever reads from it must not wait for ever
count, longest_wait_s, *uuids = sys.argv[1:]
sys.modules["torch"] = torch = types.ModuleType("torch")
torch.device = lambda kind, index: (kind, index)
torch.cuda = types.SimpleNamespace(
    device_count=lambda: len(uuids), get_device_properties=lambda index: types.SimpleNamespace(uuid=uuids[index])
)
from attention_atlas.attention import devices
from attention_atlas.errors import AtlasError

try:
    with devices.claimed(int(count), float(longest_wait_s)) as found:
        print(json.dumps([uuids[index] for _, index in found]), flush=True)
        sys.stdin.read()
except AtlasError as error:
    print(json.dumps(str(error)))
"""
LONG, SHORT = 30, 0


@pytest.fixture
def claim(tmp_path):
    """Start a process that claims devices; all end with the test."""
    with contextlib.ExitStack() as started:

        def start(count, uuids, longest_wait_s=SHORT):
            process = subprocess.Popen(
                [sys.executable, "-c", CLAIMER, str(count), str(longest_wait_s), *uuids],
                **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
                text=True,
                env={**os.environ, "TMPDIR": str(tmp_path)},
            )
            started.enter_context(process)
            started.callback(process.kill)
            return process

        yield start


def told(process):
    """What a process got: UUIDs, or the text of its refusal."""
    return json.loads(process.stdout.readline())


def waits(process):
    """Whether a process says that it waits; returns when it does."""
    return "waiting for" in process.stderr.readline()


def test_two_processes_never_have_one_device_and_a_third_is_told_who_has_them(claim):
    first, second = claim(1, ["A", "B"]), claim(1, ["A", "B"])
    assert {*told(first), *told(second)} == {"A", "B"}
    refusal = told(claim(1, ["A", "B"]))
    assert f"process {first.pid}" in refusal
    assert f"process {second.pid}" in refusal


def test_a_process_that_is_killed_gives_its_device_to_one_that_waits(claim):
    first = claim(1, ["A"])
    assert told(first) == ["A"]
    waiting = claim(1, ["A"], LONG)
    assert waits(waiting)
    first.send_signal(signal.SIGKILL)
    assert told(waiting) == ["A"]


def test_devices_are_the_same_whatever_their_index(claim):
    """As with CUDA_VISIBLE_DEVICES=1,0 and =1: index 0 is B for both."""
    first = claim(1, ["B", "A"])
    assert told(first) == ["B"]
    assert f"B: process {first.pid}" in told(claim(1, ["B"]))
    assert told(claim(1, ["A", "B"])) == ["A"]


def test_who_wants_two_devices_leaves_one_to_others_while_waiting(claim):
    first = claim(1, ["A", "B"])
    assert told(first) == ["A"]
    pair = claim(2, ["A", "B"], LONG)
    assert waits(pair)
    single = claim(1, ["A", "B"], LONG)
    assert told(single) == ["B"]
    for process in (first, single):
        process.stdin.close()
    assert told(pair) == ["A", "B"]


@pytest.fixture
def one_device(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(devices, "claimed", functools.partial(devices.claimed, longest_wait_s=SHORT))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}"))


def test_a_process_has_the_same_devices_at_every_call(one_device):
    try:
        assert devices.devices_of_process(1) == devices.devices_of_process(1) == (torch.device("cuda", 0),)
    finally:
        devices._UNTIL_EXIT.close()
        devices.devices_of_process.cache_clear()


def test_more_devices_than_there_are_is_refused_at_once(one_device):
    with pytest.raises(AtlasError, match=r"2 GPU\(s\) asked for, 1 visible"), devices.claimed(2):
        pass


def test_the_end_of_a_claim_frees_its_device(one_device):
    for _ in range(2):
        with devices.claimed(1) as found:
            assert found == (torch.device("cuda", 0),)
    assert {path.name for path in Path(devices.lock_folder()).iterdir()} == {"turn", "GPU-0", "GPU-0.holder"}


@pytest.mark.parametrize(
    ("entry", "device"),
    [
        ({}, "cuda:3"),
        ({"device": "cuda"}, "cuda:3"),
        ({"device": "cuda:1"}, "cuda:1"),
        ({"device": "cpu"}, "cpu"),
        ({"gpus": 0}, "cpu"),
    ],
)
def test_a_model_goes_to_the_gpu_that_its_process_claimed_unless_its_entry_names_one(monkeypatch, entry, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(models, "devices_of_process", lambda count: (torch.device("cuda", 3),) * count)
    assert models.device_of(ModelEntry(path="somewhere", **entry)) == torch.device(device)


def test_layers_are_spread_over_the_gpus_of_the_process_alone(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000 * (1 + device.index), 10_000))
    claimed = (torch.device("cuda", 1), torch.device("cuda", 3))
    monkeypatch.setattr(models, "devices_of_process", lambda count: claimed[:count])
    entry = ModelEntry(path="somewhere", device_map="balanced", gpus=2)
    assert models.placement(entry) == {"device_map": "balanced", "max_memory": {1: 1800, 3: 3600}}
