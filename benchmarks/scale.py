"""What 100,000 and a million samples of Qwen3-VL-8B cost: GPU-hours, bytes, files, from stated unit costs.

python benchmarks/scale.py            print the page's tables
python benchmarks/scale.py --write    into docs/scale.md

Each unit cost is measured here, computed from shapes, or assumed, and labelled so. No GPU is needed: its speed is
derived from FLOPs and stated assumptions, or given as `--samples-per-second` by who has measured it.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from attention_atlas import store
from attention_atlas.config import Causal, Settings, load_settings
from attention_atlas.inputs import controls
from attention_atlas.inputs.study import read_study
from common import LAYERS, ROOT, STUDY, large_batch, table
from run import write

SAMPLES = (100_000, 1_000_000)
MEASURED_LAYERS = 4
LAYER = LAYERS["8B"]
MEASURED, COMPUTED, ASSUMED = "measured", "computed", "**assumed**"
RUN = "results/attention/<study>/qwen3-vl-8b"


@dataclass(frozen=True)
class Shapes:
    """Qwen3-VL-8B by the config.json of the commit that config/models.yaml pins."""

    layers: int = 36
    vocabulary: int = 151_936
    vision_layers: int = 27
    vision_hidden: int = 1152
    vision_intermediate: int = 4304
    patches_per_token: int = 4

    @property
    def text_parameters(self) -> int:
        """Parameters of the text layers, each used once a token: q, k, v, o and the three matrices of the MLP."""
        hidden, width = LAYER["hidden_size"], LAYER["head_dim"]
        attention = 2 * hidden * width * (LAYER["num_attention_heads"] + LAYER["num_key_value_heads"])
        return self.layers * (attention + 3 * hidden * LAYER["intermediate_size"])

    @property
    def head_parameters(self) -> int:
        """Parameters of the output matrix, used for rows that predict alone."""
        return self.vocabulary * LAYER["hidden_size"]

    @property
    def vision_parameters(self) -> int:
        """Parameters of the vision layers, each used once a patch."""
        return self.vision_layers * self.vision_hidden * (4 * self.vision_hidden + 2 * self.vision_intermediate)


def prefill_flops(shapes: Shapes, vision_tokens: int, text_tokens: int, images: float = 1.0) -> float:
    """FLOPs of one prompt: 2 a parameter and token, and attention (4 a layer, channel and pair; half of it causal)."""
    tokens, patches = vision_tokens + text_tokens, shapes.patches_per_token * vision_tokens
    width = LAYER["num_attention_heads"] * LAYER["head_dim"]
    text = 2 * shapes.text_parameters * tokens + 2 * shapes.layers * width * tokens**2 + 2 * shapes.head_parameters
    vision = 2 * shapes.vision_parameters * patches + 4 * shapes.vision_layers * shapes.vision_hidden * patches**2
    return text + images * vision


def step_bytes(shapes: Shapes) -> float:
    """Bytes of weights that one step of a batch reads, in bfloat16: what bounds decoding."""
    return 2.0 * (shapes.text_parameters + shapes.head_parameters)


def perturbations(causal: Causal) -> int:
    """Most prompts that are scored again for one perturbed sample."""
    regions = causal.regions[0] * causal.regions[1]
    of_check = {
        "occlusion": regions,
        "knockout": 1 + causal.random_sets,
        "deletion": (2 * causal.steps - 1) * (1 + causal.random_orders),
        "counterfactual": 2 + causal.random_regions,
    }
    return sum(of_check[check] for check in causal.checks)


def control_samples(settings: Settings) -> float:
    """Control samples a sample, in the demo study; of random weights only one token is asked, which is left out."""
    study = read_study(STUDY, query_types=None, images=())
    others = controls.donors(study.samples["image"], settings.controls.other_images, settings.controls.seed)
    return sum(1 for _ in controls.control_rows(study, settings.controls, others)) / len(study.samples)


def stored(shapes: Shapes, side: int, steps: int, text_tokens: int, samples: int = 2) -> tuple[float, float, float]:
    """Bytes a sample as numbers and in the file, and the processor's seconds to write it: a real shard, made-up values.

    Weights are a softmax of normal logits: their mantissas are as random as a model's, which is what resists
    compression.
    """
    numbers = np.random.default_rng(0)
    heads, tokens = LAYER["num_attention_heads"], side**2 + text_tokens
    sizes = {"sample": samples, "step": steps, "layer": shapes.layers, "head": heads, "prompt_token": tokens}
    sizes |= {"row": side, "col": side, "row_border": side + 1, "col_border": side + 1}
    logits = 2 * numbers.standard_normal((samples, steps, shapes.layers, heads, tokens), dtype=np.float32)
    weights = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    grid = weights[..., : side**2].reshape(*weights.shape[:-1], side, side)
    made = {"attention": grid, "num_steps": np.full(samples, steps), "stop_reason": ["max_new_tokens"] * samples}
    made |= {"error": [""] * samples}
    for name, variable in store.SCHEMA.items():
        if not variable.optional and name not in made:
            shape = tuple(sizes[dim] for dim in variable.dims)
            made[name] = np.full(shape, "text", object) if variable.dtype == "str" else numbers.random(shape)
    attributes = {"model": "qwen3-vl-8b", "num_layers": shapes.layers, "num_heads": heads}
    node = store.as_dataset(made, [str(n) for n in range(samples)], list(range(shapes.layers)), attributes)
    raw = sum(values.nbytes for values in node.data_vars.values() if values.dtype.kind in "fi")
    with tempfile.TemporaryDirectory() as folder:
        path, started = Path(folder, "000.nc"), time.process_time()
        store.write_shard(path, {store.grid_name(side, side): node})
        return raw / samples, path.stat().st_size / samples, (time.process_time() - started) / samples


def processor_seconds(side: int, steps: int) -> float:
    """The processor's seconds of one layer for one sample: generation with capture, layers of the 8B's shape, fp32."""
    torch.set_num_threads(1)
    batch = large_batch("8B", side, 1, MEASURED_LAYERS, steps)
    batch.captured()  # allocations
    started = time.process_time()
    batch.captured()
    return (time.process_time() - started) / MEASURED_LAYERS


def report(given: argparse.Namespace) -> str:
    """Unit costs and totals, as Markdown."""
    shapes, settings = Shapes(), load_settings(ROOT / "config" / "config.yaml")
    vision = given.side**2
    raw, size, writing = stored(shapes, given.side, given.steps, given.text)
    flops = prefill_flops(shapes, vision, given.text, images=1 / given.queries)
    prefill = flops / (given.tflops * 1e12 * given.utilisation)
    decode = given.steps * step_bytes(shapes) / (given.bandwidth * 1e12 * given.bandwidth_use) / given.batch
    derived = 1 / (prefill + decode)
    rate = given.samples_per_second or derived
    control, scored = control_samples(settings), perturbations(settings.causal)
    again = prefill_flops(shapes, vision, given.text + given.steps) / (given.tflops * 1e12 * given.utilisation)
    layer = processor_seconds(given.side, given.steps)
    unit = [
        ["vision tokens, text tokens, steps a sample", f"{vision}, {given.text}, {given.steps}", ASSUMED],
        ["queries an image", f"{given.queries}", ASSUMED],
        ["numbers a sample", f"{raw / 1e6:.1f} MB", COMPUTED],
        ["file a sample", f"{size / 1e6:.1f} MB, {size / raw:.2f} of the numbers", f"{MEASURED}, made-up values"],
        ["writing it, one core", f"{writing:.2f} s", MEASURED],
        [
            "parameters of text layers, output, vision layers",
            " + ".join(billions(n) for n in parameters(shapes)),
            COMPUTED,
        ],
        ["FLOPs of a sample's prompt", f"{flops / 1e12:.2f} T", COMPUTED],
        ["peak of the GPU in bfloat16, and its memory", f"{given.tflops:g} TFLOP/s, {given.bandwidth:g} TB/s", ASSUMED],
        [
            "share of the peak in prefill, of the bandwidth in decoding",
            f"{given.utilisation}, {given.bandwidth_use}",
            ASSUMED,
        ],
        ["batch", f"{given.batch}", ASSUMED],
        [
            "samples/s of one GPU",
            f"{rate:.1f}",
            f"given, {derived:.1f} derived" if given.samples_per_second else f"{COMPUTED} from what is assumed",
        ],
        ["control samples a sample (demo settings)", f"{control:.1f}", COMPUTED],
        ["prompts scored again an image (demo settings)", f"at most {scored}", COMPUTED],
        ["one layer of a sample on one core, fp32", f"{layer:.2f} s", MEASURED],
    ]
    totals = []
    for samples in SAMPLES:
        images, shards = samples / given.queries, given.shards
        maps, rest = samples / rate / 3600, samples * control / rate / 3600
        causal = images * scored * again / 3600
        bytes_all = size * samples * (1 + control)
        totals.append(
            [
                f"{samples:,}",
                *(f"{hours:,.1f}" for hours in (maps, rest, causal)),
                f"{size * samples / 1e12:.1f} TB",
                f"{bytes_all / 1e12:.1f} TB",
                f"{4 * shards + 4:,}",  # own, controls, random weights, perturbations; manifests and the inventory
                f"{size * samples / shards / 1e9:.1f} GB",
                f"{writing * samples / 3600:,.0f}",
                f"{layer * shapes.layers * samples / 3600:,.0f}",
            ]
        )
    header = ["samples", "GPU-hours: maps", "controls", "perturbations", "bytes: maps", "with controls", "files"]
    header += ["largest file, about", "core-hours of writing", "core-hours without a GPU"]
    return "## Unit costs\n\n" + table(["unit", "value", "label"], unit) + "\n\n## Totals\n\n" + table(header, totals)


def parameters(shapes: Shapes) -> tuple[int, int, int]:
    """Parameters of the text layers, the output matrix and the vision layers."""
    return shapes.text_parameters, shapes.head_parameters, shapes.vision_parameters


def billions(number: int) -> str:
    """A number of parameters."""
    return f"{number / 1e9:.2f} B"


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=16, help="rows and columns of the token grid")
    parser.add_argument("--text", type=int, default=30, help="tokens of a prompt beside the image's")
    parser.add_argument("--steps", type=int, default=16, help="generated tokens a sample, on average")
    parser.add_argument("--queries", type=int, default=8, help="queries an image")
    parser.add_argument("--shards", type=int, default=256, help="shards of the study, at most 999")
    parser.add_argument("--tflops", type=float, default=989, help="peak of the GPU in bfloat16 (H100 SXM: 989, dense)")
    parser.add_argument("--bandwidth", type=float, default=3.35, help="its memory's TB/s (H100 SXM: 3.35)")
    parser.add_argument("--utilisation", type=float, default=0.3, help="share of the peak that prefill reaches")
    parser.add_argument("--bandwidth-use", type=float, default=0.5, help="share of the bandwidth that decoding reaches")
    parser.add_argument("--batch", type=int, default=32, help="samples generated together")
    parser.add_argument("--samples-per-second", type=float, help="what a shard's log told on your GPU, instead")
    parser.add_argument("--write", action="store_true", help="write into docs/scale.md")
    given = parser.parse_args()
    text = report(given)
    print(text)
    if given.write:
        write(ROOT / "docs" / "scale.md", text, "measured")


if __name__ == "__main__":
    main()
