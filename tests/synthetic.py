"""A run whose truth is known: shards and a study made from planted maps, without any model."""

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr
from attention_atlas import store
from attention_atlas.analysis import focus, transcript
from attention_atlas.analysis.grounding_tables import WIDE_KEYS, grounding_parts
from attention_atlas.cells import cell_edges
from attention_atlas.config import Settings
from attention_atlas.inputs.study import Study
from PIL import Image

LAYERS, HEADS, ROWS, COLS = 3, 2, 4, 4
CELLS = ROWS * COLS


@dataclass
class Planted:
    """One sample: its tokens (the last one the end token) and the width of its map, in cells, by (step, layer)."""

    sample_id: str
    image: str
    tokens: list[str]
    width: np.ndarray
    query_id: str = "q0"
    query_type: str = "counting"
    query: str = "How many shapes are in the image?"
    expected_answer: str = "3"
    target_object: str = ""
    condition: str = ""
    split: str = ""
    error: str = ""
    extra: dict = field(default_factory=dict)


def even_map(width: int, cells: int = CELLS) -> np.ndarray:
    """A map spread evenly over its first `width` cells: entropy ln width."""
    return np.where(np.arange(cells) < width, 1.0 / width, 0.0)


def node(samples: list[Planted], rows: int = ROWS, cols: int = COLS, mass: float = 0.8):
    """The samples as a node of the dataset; every head has the same map, half as strong in the second head."""
    steps = max((len(sample.tokens) for sample in samples), default=1)
    shape = (len(samples), steps, LAYERS, HEADS)
    attention = np.full((*shape, rows, cols), np.nan, dtype=np.float32)
    for number, sample in enumerate(samples):
        for step in range(0 if sample.error else len(sample.tokens)):
            for layer in range(LAYERS):
                one = even_map(sample.width[step, layer], rows * cols).reshape(rows, cols)
                attention[number, step, layer] = mass * one * np.array([1.0, 0.5])[:, None, None]
    vision = attention.sum((-2, -1))
    count = [0 if sample.error else len(sample.tokens) for sample in samples]
    texts = [[*([] if sample.error else sample.tokens)] for sample in samples]
    padded = np.array([[*text, *[""] * (steps - len(text))] for text in texts], dtype=object)

    def of(name):
        return np.array([getattr(sample, name) for sample in samples], dtype=object)

    exists = np.arange(steps)[None] < np.array(count)[:, None]
    variables = {
        "attention": attention,
        "vision_mass": vision,
        "first_token_mass": 0.25 * (1 - vision),
        "prompt_text_mass": 0.75 * (1 - vision),
        "generated_text_mass": 0 * vision,
        "token_id": np.where(exists, 1, -1),
        "token_text": padded,
        "token_logprob": np.where(exists, -0.1, np.nan),
        "next_token_entropy": np.where(exists, 0.2, np.nan),
        "num_steps": np.array(count),
        "generated_text": np.array(
            ["".join(t for t in text if not t.startswith("<|")) for text in texts], dtype=object
        ),
        "stop_reason": np.array(["error" if s.error else "end_token" for s in samples], dtype=object),
        "error": of("error"),
        "input_ids": np.ones((len(samples), 2)),
        "input_token_text": np.full((len(samples), 2), "x", dtype=object),
        "is_vision_token": np.zeros((len(samples), 2)),
        **{name: of(name) for name in ("query", "query_id", "query_type", "condition", "image")},
        "image_sha256": np.full(len(samples), "0", dtype=object),
        **{name: np.full(len(samples), 64) for name in ("image_height", "image_width")},
        **{name: np.full(len(samples), 128) for name in ("processed_height", "processed_width")},
        "row_edge": np.tile(cell_edges(rows, 64), (len(samples), 1)),
        "col_edge": np.tile(cell_edges(cols, 64), (len(samples), 1)),
    }
    attrs = {"model": "planted", "num_layers": LAYERS, "num_heads": HEADS, "weights_sha256": "0"}
    return store.as_dataset(variables, [s.sample_id for s in samples], list(range(LAYERS)), attrs)


def write_run(root, samples: list[Planted], shards: int = 2):
    """The run's shards and manifest below `root`/results/attention/planted/tiny; returns the shards."""
    folder = root / "results/attention/planted/tiny"
    paths = []
    for number in range(shards):
        mine = samples[number::shards]
        if mine:
            paths.append(folder / f"{number:03d}.nc")
            store.write_shard(paths[-1], {f"grid_{ROWS}x{COLS}": node(mine)})
    store.write_manifest(folder / "manifest.json", paths)
    return paths


def write_study(root, samples: list[Planted]):
    """The study's tables below `root`/data/planted (its images are not drawn); returns the folder."""
    folder = root / "data/planted"
    folder.mkdir(parents=True, exist_ok=True)
    columns = [
        *("sample_id", "image", "query_id", "query_type", "query"),
        *("expected_answer", "condition", "target_object", "split"),
    ]
    with (folder / "samples.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows([[getattr(sample, name, "") for name in columns] for sample in samples])
    images = dict.fromkeys(sample.image for sample in samples)
    lines = ["image,object_id,label,colour,x_min,y_min,x_max,y_max"]
    lines += [f"{image},object_0,circle,red,0,0,32,32" for image in images]
    (folder / "objects.csv").write_text("\n".join(lines) + "\n")
    return folder


SAMPLE_COLUMNS = (
    *("sample_id", "image", "query_id", "query_type", "query"),
    *("expected_answer", "condition", "target_object", "split"),
)


def with_map(dataset, sample_id: str, step: int, layer: int, maps: np.ndarray):
    """A node with weights (head, row, col) of one's own at one place, its masses to match."""
    dataset = dataset.copy(deep=True)
    place = {"sample": sample_id, "step": step, "layer": layer}
    vision = maps.sum((-2, -1))
    values = {
        "attention": maps,
        "vision_mass": vision,
        "first_token_mass": 0.25 * (1 - vision),
        "prompt_text_mass": 0.75 * (1 - vision),
    }
    for name, value in values.items():
        dataset[name].loc[place] = value
    return dataset


def tree_of(*nodes):
    """Nodes as the tree of a run, each under the name of its grid."""
    return xr.DataTree.from_dict({f"/{store.grid_name(n.sizes['row'], n.sizes['col'])}": n for n in nodes})


def study_of(samples: list[Planted]) -> Study:
    """The study of planted samples, in memory, without objects."""
    rows = [{name: getattr(sample, name, "") for name in SAMPLE_COLUMNS} for sample in samples]
    return Study(None, pd.DataFrame(rows), pd.DataFrame())


def settings_of(**sections) -> dict:
    """The settings that ship, with few resamples; `sections` replace values, as in steps={"selector": "first"}."""
    settings = Settings(runs=[{"study": "planted", "model": "tiny"}]).model_dump(mode="json")
    settings["statistics"]["resamples"] = 199
    for name, values in sections.items():
        settings[name] |= values
    return Settings.model_validate(settings).model_dump(mode="json")


def settings_file(folder, settings: dict) -> str:
    """The path of settings that a command is given."""
    path = Path(folder) / "settings.json"
    path.write_text(json.dumps(settings))
    return str(path)


def tables_of(tree, samples: list[Planted], settings: dict) -> dict:
    """The per-sample tables of a run: samples, tokens, answers, focus and mass."""
    described, tokens = transcript.samples_table(tree), transcript.tokens_table(tree)
    return {
        "samples": described,
        "tokens": tokens,
        "answers": transcript.judged(study_of(samples), described, tokens, settings["query_types"]),
        "focus": focus.focus_table(tree),
        "mass": transcript.mass_table(tree),
    }


def draw_images(study, samples: list[Planted], width: int = 64, height: int = 64):
    """The pictures of a study that `write_study` wrote: slanted shades of grey."""
    (study / "images").mkdir(exist_ok=True)
    shades = np.add.outer(np.arange(height), np.arange(width)) % 256
    for image in {sample.image for sample in samples}:
        Image.fromarray(np.repeat(shades[:, :, None], 3, axis=2).astype(np.uint8)).save(study / "images" / image)


def interventions_of(effects: dict, steps: int = 1, step: int = 0, base: float = -0.1) -> pd.DataFrame:
    """Interventions from planted effects on answers: sample id -> kind -> index -> Δ (nats) of the answer.

    Each token has log-probability `base`; Δ is added to the answer's, at `step` of `steps`. Kind `none` is added.
    """
    rows = [
        (sample_id, kind, index, number, base + (delta if number == step else 0))
        for sample_id, kinds in effects.items()
        for kind, deltas in {"none": {0: 0.0}, **kinds}.items()
        for index, delta in deltas.items()
        for number in range(steps)
    ]
    frame = pd.DataFrame(rows, columns=["sample_id", "kind", "index", "step", "logprob"])
    return frame.astype({"index": "int32", "step": "int32", "logprob": "float32"})


def grounding_table(*given) -> pd.DataFrame:
    """The parts of a grounding table as one, in order."""
    texts = ["sample_id", "map", "correction", "score"]
    parts = [part.astype(dict.fromkeys(texts, str)) for part in grounding_parts(*given)]
    whole = pd.concat(parts, ignore_index=True).sort_values([*WIDE_KEYS, "score"], ignore_index=True)
    return whole.astype(dict.fromkeys(texts, "category"))
