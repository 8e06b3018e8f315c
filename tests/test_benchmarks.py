"""The benchmarks run, compare what is equal, and leave the text around their figures alone."""

import importlib
from pathlib import Path

import pytest
import torch
from attention_atlas.config import load_settings
from attention_atlas.inputs.study import read_study
from torch.utils.flop_counter import FlopCounterMode
from transformers import Qwen3VLTextConfig, Qwen3VLTextModel, Qwen3VLVisionConfig, Qwen3VLVisionModel

ROOT = Path(__file__).parents[1]


@pytest.fixture
def benchmarks(monkeypatch):
    """Imports a module of the benchmarks as their scripts do."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


def test_every_way_of_generating_gives_the_same_tokens_and_is_timed_in_every_round(benchmarks):
    times = benchmarks("overhead").measure(benchmarks("common").reference_batch(2), rounds=2)
    assert {name: len(seconds) for name, seconds in times.items()} == {
        **{"capture": 2, "uncaptured": 2, "plain": 2, "eager": 2}
    }


def test_every_other_round_runs_in_reverse(benchmarks):
    order = []
    runs = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    assert benchmarks("common").alternating(runs, rounds=3) == {"a": [1.0] * 3, "b": [1.0] * 3, "c": [1.0] * 3}
    assert "".join(order) == "abccbaabc"


def test_a_table_shows_the_median_and_the_range(benchmarks):
    assert benchmarks("common").spread([1.25, 0.5, 4.0]) == "1.25 (0.50–4.00)"


def test_only_the_text_between_the_markers_is_replaced(benchmarks, tmp_path):
    run = benchmarks("run")
    page = tmp_path / "page.md"
    other, own = "<!-- a: begin -->\nkept\n<!-- a: end -->", "<!-- b: begin -->\n{}\n<!-- b: end -->"
    page.write_text(f"before\n{other}\n{own.format('old')}\nafter\n", encoding="utf-8")
    run.write(page, "new", "b")
    assert page.read_text(encoding="utf-8") == f"before\n{other}\n{own.format('new')}\nafter\n"


def test_a_page_without_markers_is_told(benchmarks, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("text", encoding="utf-8")
    with pytest.raises(SystemExit, match="lacks the markers <!-- memory: begin -->"):
        benchmarks("run").write(page, "new", "memory")


def test_the_unit_costs_of_the_8b_are_those_of_its_architecture(benchmarks):
    """Weights counted, and FLOPs of a prompt met, in the architecture itself on a device without memory."""
    scale, common = benchmarks("scale"), benchmarks("common")
    shapes = scale.Shapes()
    config = Qwen3VLTextConfig(**common.LAYERS["8B"], num_hidden_layers=shapes.layers, vocab_size=shapes.vocabulary)
    vision = Qwen3VLVisionConfig(
        depth=shapes.vision_layers, hidden_size=shapes.vision_hidden, intermediate_size=shapes.vision_intermediate
    )
    with torch.device("meta"):
        text, seen = Qwen3VLTextModel(config), Qwen3VLVisionModel(vision)
    weights = [sum(p.numel() for p in layers.parameters() if p.dim() == 2) for layers in (text.layers, seen.blocks)]
    assert weights == [shapes.text_parameters, shapes.vision_parameters]
    with FlopCounterMode(display=False) as met, torch.device("meta"):
        text(inputs_embeds=torch.empty(1, 100, common.LAYERS["8B"]["hidden_size"]))
    of_text = scale.prefill_flops(shapes, 0, 100) - 2 * shapes.head_parameters
    assert met.get_total_flops() == pytest.approx(of_text, rel=0.01)  # it counts attention whole, the script half


def test_a_planned_study_has_the_samples_and_images_that_the_table_says(benchmarks, tmp_path):
    benchmarks("dag").write_study(tmp_path / "made", samples=40, images=5)
    made = read_study(
        tmp_path / "made", load_settings(ROOT / "config/config.yaml").model_dump(mode="json")["query_types"]
    )
    assert (len(made.samples), made.samples["image"].nunique(), len(made.objects)) == (40, 5, 20)
