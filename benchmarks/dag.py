"""Time and memory of planning (`snakemake -n`) for studies of many samples and images of which nothing is computed."""

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
from attention_atlas.inputs.study import OBJECT_COLUMNS, SAMPLE_COLUMNS
from common import ROOT, table, verdict
from PIL import Image

SHARDS = 256
SAMPLES = (10_000, 30_000, 100_000)
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
    """What one `snakemake -n` took, by the clock and of the processor, and how many jobs it planned."""

    seconds: float
    processor: float
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
        objects.writerow(OBJECT_COLUMNS)
        for number in range(images):
            name = image_name(number)
            (folder / "images" / name).write_bytes(content)
            objects.writerows([name, f"object_{i}", "circle", COLOURS[i], i, i, i + 2, i + 3] for i in range(4))
    with (folder / "samples.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(SAMPLE_COLUMNS)
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
    return Planned(taken, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20, int(total[0]) if total else 0)


def measured(samples: int, images: int) -> list[Planned]:
    """The first plan of a study, which reads every picture, and the next one."""
    with tempfile.TemporaryDirectory() as name:
        project(Path(name), samples, images)
        return [plan(Path(name)), plan(Path(name))]


def report(quick: bool) -> str:
    """The table of planning, as Markdown."""
    rows = []
    for samples in (1_000,) if quick else SAMPLES:
        for images in (samples // 8, samples):
            first, again = measured(samples, images)
            met = max(first.seconds, again.seconds) <= SECONDS_AIM and again.gib <= GIB_AIM
            rows.append(
                [
                    *(f"{samples:,}", f"{images:,}", f"{again.jobs:,}"),
                    *(f"{plan.seconds:.0f} s ({plan.processor:.0f} s)" for plan in (first, again)),
                    *(f"{max(first.gib, again.gib):.2f} GiB", verdict(met)),
                ]
            )
    header = ["samples", "images", "jobs", "first plan", "next plan", "peak memory", "aim"]
    return (
        "## Planning\n\n"
        f"`snakemake -n` of a study with the demo's settings (controls, perturbations) in {SHARDS} shards, nothing "
        "computed yet, four objects with boxes an image: seconds by the clock (of the processor). The first plan reads "
        "every picture (here of 100 bytes) and remembers its hash; aim: "
        f"≤ {SECONDS_AIM} s by the clock and ≤ {GIB_AIM} GiB.\n\n" + table(header, rows)
    )
