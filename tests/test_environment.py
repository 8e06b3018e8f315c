"""The environment: what its set-up refuses, and that the files which describe it agree."""

import collections
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def setup_script():
    spec = importlib.util.spec_from_file_location("setup_script", ROOT / "envs" / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_interpreter_that_is_too_old_is_refused_before_anything_is_written(setup_script, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(setup_script.sys, "version_info", (3, 10, 14))
    with pytest.raises(SystemExit, match=r"Python 3\.10 is too old: .* 3\.11 or newer.*make PYTHON="):
        setup_script.main()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused_before_anything_is_written(setup_script, monkeypatch, tmp_path):
    usage = collections.namedtuple("usage", "total used free")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(setup_script.shutil, "disk_usage", lambda folder: usage(10e9, 9e9, 1e9))
    with pytest.raises(SystemExit, match=r"has 1\.0 GB left, the environment needs 2\.5 GB"):
        setup_script.main()
    assert list(tmp_path.iterdir()) == []


def test_the_conda_file_is_made_from_the_lockfile():
    made = subprocess.run([sys.executable, ROOT / "envs" / "conda.py"], capture_output=True, text=True, check=True)
    assert made.stdout == (ROOT / "envs" / "atlas.yaml").read_text(encoding="utf-8")


def test_every_requirement_is_in_the_lockfile_and_each_pin_has_hashes():
    lock = (ROOT / "envs" / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)==\S+ \\\n    --hash=sha256:", lock, flags=re.MULTILINE)
    lines = (ROOT / "envs" / "requirements.in").read_text(encoding="utf-8").splitlines()
    wanted = [re.match(r"[\w-]+", line).group() for line in lines if line and not line.startswith("#")]
    missing = {name.lower() for name in wanted} - {pin.lower() for pin in pins}
    assert missing == {"torch"}  # installed first, by its version: its builds differ by machine
    assert len(pins) == len(re.findall(r"^[\w.-]+==", lock, flags=re.MULTILINE))
