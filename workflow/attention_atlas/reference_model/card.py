"""The model card of shapes-tiny: what it is, how it was trained, how it did; made from the training's own records."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from statsmodels.stats.proportion import proportion_confint

from attention_atlas.inputs.questions import WORDINGS
from attention_atlas.inputs.scenes import COLOURS, KINDS, SIZE
from attention_atlas.reference_model.architecture import GRID, PIXELS
from attention_atlas.reference_model.evaluation import BARS
from attention_atlas.reference_model.examples import QUESTIONS_PER_SCENE
from attention_atlas.reference_model.training import RECIPE, SEED, Stage

NAMES = {
    "q0": "counting: how many shapes",
    "q1": "counting: of one colour",
    "q2": "attribute: colour of a shape",
    "q3": "recognition: purple",
    "q4": "recognition: red",
    "q5": "recognition: colour and shape",
    "q6": "spatial: left or right",
    "q7": "spatial: one of nine places",
}


def write_card(folder: Path, record: Mapping[str, Any]) -> None:
    """Write training/record.json (the record itself), training/curve.png and README.md into the model's folder.

    `record` has curve (stage, step, loss), accuracy (query id -> questions, correct), parameters, versions, threads.
    The folder of their own keeps them from being taken for parts of the model.
    """
    own = folder / "training"
    own.mkdir(exist_ok=True)
    (own / "record.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    draw_curve(record["curve"]).savefig(own / "curve.png", dpi=150, metadata={"Software": None})
    (folder / "README.md").write_text(card(record), encoding="utf-8")


def draw_curve(curve: list[dict[str, Any]]) -> Figure:
    """Training loss by step, one panel a stage."""
    stages = list(dict.fromkeys(point["stage"] for point in curve))
    figure = Figure(figsize=(7.2, 2.2), layout="constrained")
    axes = figure.subplots(1, len(stages), squeeze=False)[0]
    for panel, stage in zip(axes, stages, strict=True):
        points = [point for point in curve if point["stage"] == stage]
        panel.plot([point["step"] for point in points], [point["loss"] for point in points], color="#0072b2")
        panel.set(title=stage, yscale="log")
        panel.grid(alpha=0.3, which="both")
    figure.supxlabel("step", fontsize=9)
    figure.supylabel("loss (nats)", fontsize=9)
    return figure


def card(record: Mapping[str, Any]) -> str:
    """The card's text."""
    versions = ", ".join(f"{name} {version}" for name, version in sorted(record["versions"].items()))
    return f"""\
# shapes-tiny

The reference model of Attention Atlas: a `Qwen3VLForConditionalGeneration` of {record["parameters"] / 1e6:.1f} million
parameters, trained from scratch on drawn scenes of coloured shapes. It makes the whole workflow run on two CPU cores,
with the architecture, special tokens and chat layout of the real checkpoints. What is found in its attention is a
statement about this model; statements about Qwen3-VL need Qwen3-VL's weights.

## Held-out accuracy

1,000 questions of each kind about fresh scenes of the study's design, asked as the study asks them (448 x 448 px,
chat template, greedy generation, bf16 weights computed in fp32). Brackets: 95 % Wilson interval.

{accuracy_table(record["accuracy"])}

## Data

Scenes: {SIZE} x {SIZE} px, 2 to 6 shapes ({", ".join(KINDS)}) in {len(COLOURS)} colours, drawn at random without
overlap on light backgrounds; each picture becomes {GRID[0]} x {GRID[1]} vision tokens of {PIXELS} x {PIXELS} px.
Questions: {QUESTIONS_PER_SCENE} a scene, in up to {max(map(len, WORDINGS.values()))} wordings, answers balanced.
Every scene is drawn afresh from the seed; the 48 scenes of the study and the held-out ones are not among them.

## Recipe

Seed {SEED}, {record["threads"]} threads, AdamW (0.9, 0.98), weight decay 0.05, gradients clipped at 1, warm-up of 50
steps and one cosine cycle a stage, bf16 autocast.

{recipe_table(RECIPE)}

- vision: each merged token tells the object whose centre lies in its cell, and its row and column; DeepStack outputs
  likewise with weight 0.2.
- language: one image prefix, {QUESTIONS_PER_SCENE} questions behind it; answers end with what the search has found.
- finish: everything learns, answers as the study has them.

![loss by step](training/curve.png)

The curve's points, accuracies and versions are in `training/record.json`. Trained with {versions}.
Train it again with `make reference-model`.
"""


def accuracy_table(accuracy: Mapping[str, Mapping[str, int]]) -> str:
    """Accuracy by query id with its interval and bar."""
    lines = ["| query | accuracy | interval | aim |", "| --- | --- | --- | --- |"]
    for query_id, counts in accuracy.items():
        correct, asked = counts["correct"], counts["questions"]
        low, high = proportion_confint(correct, asked, method="wilson")
        lines.append(
            f"| {query_id} {NAMES[query_id]} | {correct / asked:.3f} | [{low:.3f}, {high:.3f}] | {BARS[query_id]:.2f} |"
        )
    return "\n".join(lines)


def recipe_table(recipe: tuple[Stage, ...]) -> str:
    """The stages."""
    lines = ["| stage | steps | scenes a step | peak rate | learns |", "| --- | --- | --- | --- | --- |"]
    learns = {"vision": "vision tower", "language": "language model, mergers", "all": "everything"}
    for stage in recipe:
        row = (stage.name, stage.steps, stage.images, f"{stage.peak_rate:g}", learns[stage.parts])
        lines.append(f"| {' | '.join(map(str, row))} |")
    return "\n".join(lines)
