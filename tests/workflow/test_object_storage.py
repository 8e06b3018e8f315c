"""Results on object storage, by a real S3 server on this machine: whole clones, and clones without the maps."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from .conftest import MODEL, PAPER, UP_TO_DATE

pytestmark = pytest.mark.xdist_group("dag")
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
RUN = "shapes/shapes-tiny"
# What tables and figures need beside git, as docs/reruns.md says: no maps.
WITHOUT_MAPS = (
    *("results/analysis", "results/paper/figures", "results/written", ".snakemake/metadata"),
    *(f"results/attention/{RUN}/manifest.json", f"results/attention/{RUN}/interventions"),
)


@pytest.fixture(scope="module")
def server():
    """The address of an S3 server with an empty bucket."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [Path(sys.executable).with_name("moto_server"), "-H", "127.0.0.1", "-p", address.rpartition(":")[2]]
    with subprocess.Popen(
        command, env={**os.environ, **KEYS}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as s3:
        try:
            create_bucket(f"{address}/atlas", s3)
            yield address
        finally:
            s3.terminate()


def create_bucket(url, process):
    """Create a bucket, once the server listens."""
    while process.poll() is None:
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="PUT")).close()
            return
        except urllib.error.URLError:
            time.sleep(0.2)
    raise RuntimeError("the S3 server ended")


def on_s3(clone, server):
    """Make the bucket a clone's remote, in its own configuration."""
    clone.run("dvc", "remote", "add", "-q", "--local", "-f", "-d", "s3", "s3://atlas/results")
    clone.run("dvc", "remote", "modify", "--local", "s3", "endpointurl", server)


@pytest.fixture(scope="module")
def pushed(origin, server):
    """The origin, pushed to S3."""
    on_s3(origin, server)
    origin.run("dvc", "push", "-q", **KEYS)
    origin.run("dvc", "remote", "remove", "--local", "s3")
    return origin


def test_results_travel_by_s3_to_a_clone_that_has_nothing_to_do(pushed, fresh, server):
    on_s3(fresh, server)
    fresh.run("dvc", "pull", "-q", **KEYS)
    assert fresh.planned() == {}
    assert fresh.status() == UP_TO_DATE
    assert fresh.bytes_made() == pushed.bytes_made()


def test_what_needs_no_maps_is_made_without_them_and_the_rest_tells_what_to_pull(pushed, fresh, server):
    on_s3(fresh, server)
    fresh.run("dvc", "pull", "-q", *WITHOUT_MAPS, **KEYS)
    shards = fresh.folder / "results/attention" / RUN
    dry = ("snakemake", "-n", "tables", "figures")
    assert fresh.jobs(*dry) == {}
    fresh.edit("config/config.yaml", "dpi: 72", "dpi: 80")
    assert fresh.jobs(*dry) == {"figures": 1, "figure": PAPER["figure"], "overlay_figure": PAPER["overlay_figure"]}
    fresh.edit("config/config.yaml", "alpha: 0.05", "alpha: 0.04")
    planned = set(fresh.jobs(*dry))
    assert {"compare", "printed_table", "figure"} <= planned
    assert {*MODEL, "focus", "selected_maps"}.isdisjoint(planned)
    here = ("snakemake", "--cores", "1", "--config", "ask_model=false", "--")
    drawn = [f"results/paper/figures/{RUN}/{name}.png" for name in ("layer_profile", "gallery")]  # of a table, of maps
    assert fresh.jobs(*here, *drawn) == {"figure": 1, "overlay_figure": 1}
    fresh.edit("config/config.yaml", "selector: answer", "selector: first")
    told = fresh.run(*here, f"results/analysis/{RUN}/step_maps.nc", fails=True)
    assert f"`dvc pull results/attention/{RUN}`" in told
    assert not list(shards.glob("*.nc"))
    fresh.run("dvc", "pull", "-q", f"results/attention/{RUN}", **KEYS)
    assert fresh.jobs("snakemake", "-n", f"results/analysis/{RUN}/step_maps.nc") == {"step_maps": 1}
    assert "must be true or false" in fresh.run("snakemake", "-n", "--config", "ask_model=no", fails=True)
