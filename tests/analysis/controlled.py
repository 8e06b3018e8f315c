"""A planted run with control conditions: random maps of eight images or more, and controls made from them at will."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import xarray as xr
from attention_atlas.analysis import step_maps
from attention_atlas.analysis.steps import selected_steps
from attention_atlas.analysis.summaries import Run, read_run
from attention_atlas.inputs.study import Study

from ..synthetic import COLS, LAYERS, ROWS, Planted, grounding_table, node, settings_of, study_of, tables_of, tree_of

END = "<|im_end|>"
# Query -> type, expected answer, tokens; the answers of both types begin at different steps.
QUERIES = {
    "q0": ("counting", "3", ["There", " are", " 3", ".", END]),
    "q1": ("counting", "3", ["There", " are", " 3", ".", END]),
    "q2": ("recognition", "yes", ["Yes", ".", END]),
}
GRID = f"grid_{ROWS}x{COLS}"
# Cells (row, col) of a 4 x 4 grid on 64 x 64 pixels that the objects of every image fill.
OBJECTS = {"object_0": (0, 0), "object_1": (3, 3)}


@dataclass(frozen=True)
class Controlled:
    """A run with its tree, step maps, grounding scores, study and settings."""

    run: Run
    tree: xr.DataTree
    nodes: dict[str, xr.Dataset]
    grounding: pd.DataFrame
    study: Study


def samples_of(images: int, queries=QUERIES, target="object_0") -> list[Planted]:
    """One sample an image and query, all with a target."""
    samples = []
    for query_id, (query_type, expected, tokens) in queries.items():
        for k in range(images):
            name = f"image_{k:02d}"
            sample = Planted(f"{name}-{query_id}", f"{name}.png", tokens, np.full((len(tokens), LAYERS), 16), query_id)
            samples.append(replace(sample, query_type=query_type, expected_answer=expected, target_object=target))
    return samples


def study_with_objects(samples: list[Planted]) -> Study:
    """The study of samples, in memory, with the objects of `OBJECTS` in each image."""
    rows = [
        {
            **{"image": image, "object_id": name, "label": "circle", "colour": "red"},
            **{"x_min": 16.0 * col, "y_min": 16.0 * row, "x_max": 16.0 * (col + 1), "y_max": 16.0 * (row + 1)},
        }
        for image in sorted({sample.image for sample in samples})
        for name, (row, col) in OBJECTS.items()
    ]
    return replace(study_of(samples), objects=pd.DataFrame(rows))


def random_node(samples: list[Planted], seed: int = 0) -> xr.Dataset:
    """The node of samples with random weights wherever they generated a token."""
    dataset = node(samples)
    random = np.random.default_rng(seed)
    weights = random.uniform(0.001, 0.01, dataset["attention"].shape).astype(np.float32)
    return with_weights(dataset, np.where(np.isfinite(dataset["attention"].values), weights, np.nan))


def with_weights(dataset: xr.Dataset, weights: np.ndarray) -> xr.Dataset:
    """A node, of a run or of step maps, with weights of one's own and vision masses to match."""
    dataset = dataset.copy(deep=True)
    vision = weights.sum((-2, -1))
    values = {"attention": weights, "vision_mass": vision}
    values |= {"first_token_mass": 0.25 * (1 - vision), "prompt_text_mass": 0.75 * (1 - vision)}
    for name, value in values.items():
        if name in dataset:
            dataset[name].values[:] = value
    return dataset


def controlled(samples: list[Planted], dataset: xr.Dataset | None = None, **sections) -> Controlled:
    """The run of samples, by default with random maps."""
    settings = settings_of(**{"tests": {"simulations": 100}, **sections})
    tree, study = tree_of(random_node(samples) if dataset is None else dataset), study_with_objects(samples)
    tables = tables_of(tree, samples, settings)
    run = read_run(tables, LAYERS, settings)
    steps = selected_steps(run.samples, run.answers, run.selector)
    nodes = {GRID: step_maps.step_maps(tree, steps)[GRID].to_dataset()}
    return Controlled(run, tree, nodes, grounding_table(nodes, study, run.heads), study)


def control(own: xr.Dataset, condition: str, weights: np.ndarray, number: int = 0, images=None) -> xr.Dataset:
    """Controls of every sample of a node of step maps, with weights of one's own, of other images where given."""
    tail = f".{condition}" + (f".{number}" if number else "")
    names = [f"{name}{tail}" for name in own["sample"].values]
    made = with_weights(own, weights).assign_coords(sample=np.array(names, dtype=object))
    made["condition"] = ("sample", np.array([condition] * len(names), dtype=object))
    if images is not None:
        made["image"] = ("sample", np.array(images, dtype=object))
    return made


def joined(*parts: xr.Dataset) -> dict[str, xr.Dataset]:
    """Controls as the nodes of a file."""
    return {GRID: xr.concat(parts, "sample")}


def own_maps(case: Controlled) -> pd.DataFrame:
    """Maps pooled by max, normalised, by sample id, (layer, cell): without the package's own functions."""
    weights = case.nodes[GRID]["attention"].values.astype(float)
    pooled = weights.max(axis=2).reshape(len(weights), LAYERS, -1)
    maps = pooled / pooled.sum(-1, keepdims=True)
    return dict(zip(case.nodes[GRID]["sample"].values, maps, strict=True))
