"""Time and memory of planning (`snakemake -n`): studies of many samples and images, nothing computed yet and all of it."""

import csv
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml
from common import ROOT, table, verdict
from PIL import Image

SHARDS = 256
SECONDS_AIM, GIB_AIM = 30, 1
PROJECT = ("Snakefile", "workflow", "profiles", "config", "envs", "data/models")
# Query id, type, query and expected answer: a type with targets and one without, with and without another wording.
QUESTIONS = (
    ("q0", "counting", "How many shapes are in the image?", "4"),
    ("q2", "attribute", "What colour is the circle?", "red"),
    ("q3", "recognition", "Is there a red shape in the image?", "yes"),
    ("q7", "spatial", "Where is the red circle?", "top left"),
    ("q8", "recognition", "Can you see a red circle?", "yes"),
)
COLOURS = ("red", "green", "blue", "yellow")


@dataclass(frozen=True)
class Planned:
    """What one `snakemake -n` took, and how many jobs it planned."""

    seconds: float
    gib: float
    jobs: int


def project(folder: Path, samples: int, images: int) -> None:
    """A copy of the project whose one run is a study of that size, cut into 256 shards."""
    for name in PROJECT:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        copy(ROOT / name, folder / name)
    settings = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    settings["shards"] = SHARDS
    (folder / "config" / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
    write_study(folder / "data" / "shapes", samples, images)


def write_study(folder: Path, samples: int, images: int) -> None:
    """Samples in turn on the images, four objects with boxes each; the pictures are one tiny PNG many times."""
    (folder / "images").mkdir(parents=True)
    picture = folder / "one.png"
    Image.new("RGB", (8, 8)).save(picture)
    content = picture.read_bytes()
    picture.unlink()
    with (folder / "objects.csv").open("w", newline="", encoding="utf-8") as file:
        objects = csv.writer(file)
        objects.writerow(["image", "object_id", "label", "colour", "x_min", "y_min", "x_max", "y_max"])
        for number in range(images):
            name = image_name(number)
            (folder / "images" / name).write_bytes(content)
            objects.writerows([name, f"object_{i}", "circle", COLOURS[i], i, i, i + 2, i + 3] for i in range(4))
    with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(
            ["sample_id", "image", "query_id", "query_type", "query", "expected_answer", "condition"]
            + ["target_object", "split"]
        )
        for number in range(samples):
            image, turn = number * images // samples, number % len(QUESTIONS)
            query_id, query_type, query, answer = QUESTIONS[turn]
            target = "object_0+object_1" if turn == 0 else "object_0"
            split = ("select", "evaluate")[image % 2]
            rows.writerow(
                [f"sample_{number:07d}", image_name(image), query_id, query_type, query, answer, "", target, split]
            )


def image_name(number: int) -> str:
    """The file of an image."""
    return f"image_{number:07d}.png"


def plan(folder: Path) -> Planned:
    """One `snakemake -n` in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(folder / "workflow")}
    told = folder / "plan.txt"
    started = time.perf_counter()
    with told.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "-n"], cwd=folder, env=environment, stdout=output, stderr=output
        )
        _, status, used = os.wait4(process.pid, 0)
    taken = time.perf_counter() - started
    text = told.read_text(encoding="utf-8")
    if status:
        raise RuntimeError(f"snakemake -n failed:\n{text[-2000:]}")
    total = [line.split()[1] for line in text.splitlines() if line.startswith("total ")]
    return Planned(taken, used.ru_maxrss / 2**20, int(total[0]) if total else 0)
