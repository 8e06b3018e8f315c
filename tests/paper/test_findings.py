"""Contrasts, claims, grounding and validation as tables, and the findings that are made from them."""

import numpy as np
import pandas as pd
import pytest
from attention_atlas.paper import columns
from attention_atlas.paper.catalogue import TABLE_FORMATS
from attention_atlas.paper.findings import write_findings
from attention_atlas.paper.tables import write_table

CONTRAST = {
    **{"name": "counting_vs_spatial", "family": "claims", "kind": "paired", "measure": "entropy"},
    **{"arm_first": "counting", "arm_second": "spatial", "n_first": 48, "n_second": 48},
    **{"mean_first": 3.6, "mean_second": 3.73456, "difference": -0.13456, "low": -0.1587, "high": -0.1104},
    **{"effect_size": -1.53, "margin": 0.1, "p_difference": 0.0001, "smallest_p": 0.0001, "q_difference": 0.00004},
    **{"p_equivalence": 0.9957, "q_equivalence": 1.0, "verdict": "moved", "sign": "-", "verdict_note": ""},
    **{"direction": "greater", "reading": "contradicted", "claim": "counting has higher entropy than spatial"},
    **{"original": "counting above spatial", "note": ""},
}
REFUSED = {
    **CONTRAST,
    **dict.fromkeys(
        ("difference", "low", "high", "effect_size", "p_difference", "q_difference", "p_equivalence", "q_equivalence"),
        np.nan,
    ),
    **{"name": "right_vs_wrong", "arm_first": "right answers", "arm_second": "wrong answers", "n_first": 30},
    **{"n_second": 0, "verdict": "no verdict", "sign": "", "reading": "", "claim": "", "original": ""},
    **{"note": "0 image(s) in an arm; a test needs 6", "verdict_note": "0 image(s) in an arm; a test needs 6"},
}
GROUNDING = {
    **{"query_id": "q2", "query_type": "attribute", "score": "auroc", "n": 48, "undefined": 0, "pooling": "max"},
    **{"selector": "answer", "raw": 0.756, "raw_low": 0.72, "raw_high": 0.79, "without_sinks": 0.75},
    **{"without_sinks_low": 0.71, "without_sinks_high": 0.78, "position_mean": 0.53, "interval_note": ""},
    **{"uniform": 0.5, "gaussian": 0.673, "other_image": 0.52, "random_weights": 0.61, "attainable": np.nan},
    **{"relative": 0.81, "relative_low": 0.78, "relative_high": 0.84, "nearest_baseline": "gaussian"},
    **dict.fromkeys(
        [f"{n}{end}" for n in ("value_weighted", "without_massive") for end in ("", "_low", "_high")], np.nan
    ),
    **{"above_nearest": 0.083, "above_nearest_low": 0.041, "above_nearest_high": 0.124},
}
VALIDATION = {
    **{"contrast": "counting_vs_spatial", "test": "difference", "world": "gaussian", "effect": 0.0, "datasets": 2000},
    **{"rejections": 123, "size": 0.0615, "coverage": 0.932, "p_binomial": 0.012, "tests": 21, "passes": "yes"},
}
TABLE1 = {
    **{"query_id": "q2", "query_type": "attribute", "question": "What colour is the …", "pooling": "max"},
    **{"selector": "answer", "measure": "entropy", "num_cells": 64, "samples": 48, "failed": 1, "no_answer": 0},
    **{"undefined": 0, "other_conditions": 0, "n": 47, "entropy_mean": 3.69, "entropy_mean_low": 3.68},
    **{"entropy_mean_high": 3.71, "entropy_min": 3.0, "entropy_min_low": 2.9, "entropy_min_high": 3.1},
    **{"interval_note": "", "entropy_band": "high", "profile_min": 3.0, "layer_of_min": 1, "layer_band": "early"},
    **{"modal_layer": 1, "modal_share": 0.94, "modal_share_low": 0.83, "modal_share_high": 0.98, "accuracy": 1.0},
    **{"accuracy_low": 0.93, "accuracy_high": 1.0, "n_accuracy": 47, "shown_layer": 1},
}
EXCESS = {
    **CONTRAST,
    **{"name": "maps", "measure": "js_excess", "arm_first": "q3 to q4", "arm_second": "paraphrases"},
    **{"difference": 0.0335, "low": 0.0258, "high": 0.0416, "margin": 0.02, "claim": "", "reading": ""},
    **{"note": "3 of 48 sample(s) left out"},
}
CLUSTER = {
    **{"contrast": "q3_vs_q4", "cluster": 1, "layers": "4 to 5", "steps": "-1 to 2", "cells": 7, "mass": -13.9971},
    **{"p": 0.00006, "n": 48, "note": ""},
}
NO_CLUSTER = {
    **CLUSTER,
    **{"contrast": "q1_vs_q2", "cluster": 0, "layers": "", "steps": "", "cells": 0, "mass": np.nan, "p": np.nan},
    **{"n": 5, "note": "5 image(s); a test needs 6 in a cell"},
}
SHORTCUT = {
    **{"query_type": "counting", "verdict": "no shortcut", "verdict_note": "attention on the target: fails"},
    **{"n_chance": 48, "chance_state": "holds", "chance_reason": "q1: 43 of 48, constant answer 0.417, p = 5.6e-12"},
    **{"n_attention": 47, "attention_difference": 0.5569, "attention_low": 0.4881, "attention_high": 0.6223},
    **{"attention_state": "fails", "attention_reason": "", "n_cause": 12, "cause_difference": -0.0123},
    **{"cause_low": -0.0456, "cause_high": 0.0201, "cause_state": "holds", "cause_reason": ""},
}
UNDEFINED = {
    **SHORTCUT,
    **dict.fromkeys(("cause_difference", "cause_low", "cause_high"), np.nan),
    **{"query_type": "spatial", "verdict": "no verdict", "n_cause": 0, "cause_state": "not defined"},
    **{"cause_reason": "no causal checks of its samples"},
}
CAUSAL = {
    **{"query_type": "attribute", "check": "knockout", "quantity": "Δ log p (nats), target's cells − random cells"},
    **{"n": 12, "left_out": 0, "first": -1.5, "second": -0.1, "difference": -1.40004, "low": -1.61, "high": -1.2},
    **{"p_difference": 0.0005, "q_difference": 0.001, "p_equivalence": 1.0, "q_equivalence": 1.0, "verdict": "moved"},
    **{"verdict_note": "", "margin": 0.1, "note": ""},
}
OCCLUSION = {
    **{**CAUSAL, "check": "occlusion", "quantity": "Spearman's ρ", "left_out": 2, "difference": 0.1, "low": -0.1},
    **{"high": 0.3, "second": np.nan, "p_equivalence": np.nan, "q_equivalence": np.nan, "margin": np.nan},
    **{"verdict": "undecided", "verdict_note": "no margin declared", "note": "2 sample(s): no answer found"},
}
UNTESTED = {
    **CAUSAL,
    **dict.fromkeys(("low", "high", "p_difference", "q_difference", "p_equivalence", "q_equivalence"), np.nan),
    **{"query_type": "spatial", "n": 5, "left_out": 1, "verdict": "no verdict"},
    **dict.fromkeys(("verdict_note", "note"), "5 image(s) in an arm; a test needs 6"),
}
SUPPORT = {"query_type": "attribute", "uses": "yes", "n": 12, "why": "knockout: moved -, n = 12"}
UNSUPPORTED = {"query_type": "spatial", "uses": "not tested", "n": 5, "why": "n too small"}
HEADS = {
    **{"method": "selected heads", "heads": "L4H2, L5H0", "number": 2, "n_select": 24, "n": 24, "auroc": 0.87},
    **{"auroc_low": 0.84, "auroc_high": 0.9, "select_auroc": 0.9, "random_low": 0.61, "random_high": 0.79, "p": 0.001},
    **{"difference": 0.1234, "difference_low": 0.0912, "difference_high": 0.1567, "over_gaussian": 0.3},
    **{"over_gaussian_low": 0.2, "over_gaussian_high": 0.4, "note": ""},
}
NO_HEADS = {
    **HEADS,
    **dict.fromkeys(("auroc", "auroc_low", "auroc_high", "random_low", "random_high", "p", "difference"), np.nan),
    **{"method": "LocalizationHeads", "heads": "-", "note": "5 image(s); an interval needs 6"},
}
CONDITION = {
    **{"query_id": "q1", "query_type": "counting", "condition": "control_twin", "samples": 35, "failed": 0, "n": 35},
    **{"found": 1.0, "accuracy": 0.94, "accuracy_low": 0.81, "accuracy_high": 0.98, "n_accuracy": 35},
    **{"same_answer": 0.97, "same_answer_low": 0.85, "same_answer_high": 0.99, "entropy": 3.7, "entropy_low": 3.6},
    **{"entropy_high": 3.8, "js_divergence": 0.0123, "js_divergence_low": 0.01, "js_divergence_high": 0.02},
    **{"measure": "entropy", "interval_note": "", "n_same_answer": 34},
}
BLANK = {**CONDITION, "condition": "blank", "accuracy": np.nan, "accuracy_low": np.nan, "accuracy_high": np.nan}
ROWS = {
    "heads": [HEADS, NO_HEADS],
    "conditions": [CONDITION, BLANK],
    "clusters": [CLUSTER, NO_CLUSTER],
    "shortcut": [SHORTCUT, UNDEFINED],
    "contrasts": [CONTRAST, REFUSED, EXCESS],
    "claims": [CONTRAST],
    "grounding": [GROUNDING],
    "validation": [VALIDATION],
    "causal_validation": [
        {**VALIDATION, "contrast": "attribute, knockout", "world": "resampled", "size": 0.081, "passes": "no"}
    ],
    "table1": [TABLE1],
    "causal": [CAUSAL, OCCLUSION, UNTESTED],
    "causal_support": [SUPPORT, UNSUPPORTED],
}


@pytest.fixture
def folder(tmp_path):
    """The published tables of a run, with what a reader sees of them."""
    (tmp_path / "analysis/mine/tiny").mkdir(parents=True)
    for name, rows in ROWS.items():
        publish(tmp_path, name, rows)
    return tmp_path / "tables/mine/tiny"


def publish(root, name, rows):
    """Write one table of the run in its formats."""
    summary, out = root / f"analysis/mine/tiny/{name}.parquet", root / "tables/mine/tiny"
    pd.DataFrame(rows).to_parquet(summary)
    formats = {"csv": None, "md": None, "tex": None, **{e: out / f"{name}.{e}" for e in TABLE_FORMATS[name]}}
    write_table(name, summary, 0.95, *formats.values())


def test_p_values_keep_a_decimal_more_and_small_ones_are_never_zero(folder):
    csv = columns.read_published(folder / "contrasts.csv", "contrasts")
    assert csv["p_difference"][0] == 0.0001
    for ending in ("md", "tex"):
        text = (folder / f"contrasts.{ending}").read_text()
        assert "0.0001" in text
        assert "0.0000" not in text


def test_a_contrast_is_printed_with_difference_interval_n_and_verdict(folder):
    row = next(line for line in (folder / "contrasts.md").read_text().splitlines() if "counting − spatial" in line)
    for part in ("-0.135 [-0.159, -0.110]", "| 48 |", "moved -"):
        assert part in row


def test_a_difference_of_normalised_entropies_is_not_in_nats(folder, tmp_path):
    text = findings_with(folder, tmp_path, contrasts=[{**CONTRAST, "measure": "entropy_normalised"}])
    (line,) = (line for line in text.splitlines() if "normalised entropy (H / ln N), " in line and " minus " in line)
    assert "-0.135 [-0.159, -0.110], n = 48" in line


def test_a_contrast_that_is_refused_says_why(folder):
    text = (folder / "contrasts.md").read_text()
    assert "no verdict (0 image(s) in an arm; a test needs 6)" in text
    assert "| 30, 0 |" in text


def test_claims_stand_beside_their_original_and_name_the_model(folder):
    text = (folder / "claims.md").read_text()
    assert "mine asked of tiny" in text
    assert "counting above spatial | -0.135 [-0.159, -0.110] | 48 | <0.0001 | contradicted" in text.replace("\\", "")


def test_clusters_are_printed_with_their_extents_and_a_contrast_without_any_says_why(folder):
    text = (folder / "clusters.md").read_text()
    assert "| q3 vs q4 | 1 | 4 to 5 | -1 to 2 | 7 | -14.00 | 0.0001 | 48 |" in text
    assert "| q1 vs q2" not in text
    assert "No cluster: q1\\_vs\\_q2: 5 image(s); a test needs 6 in a cell." in text


def test_the_legs_of_a_shortcut_are_printed_with_their_numbers(folder):
    text = (folder / "shortcut.md").read_text()
    assert (
        "| counting | holds (q1: 43 of 48, constant answer 0.417, p = 5.6e-12) | "
        "fails (0.557 [0.488, 0.622], n = 47) | holds (-0.012 [-0.046, 0.020], n = 12) | no shortcut |"
    ) in text
    assert "| not defined (no causal checks of its samples) | no verdict |" in text


def test_shortcuts_and_clusters_have_a_sentence_each(folder):
    write_findings(folder / "findings.md", folder, 0.95)
    text = (folder / "findings.md").read_text()
    _, shortcuts = text.split("## Shortcuts")
    for part in (
        "**counting**: **no shortcut**. Answers above chance: holds (q1: 43 of 48, constant answer 0.417, p = 5.6e-12)",
        "attention on the target the same in other images: fails (difference 0.557 [0.488, 0.622], n = 47)",
        "answer the same without the target: holds (difference -0.012 nats [-0.046, 0.020], n = 12).",
        "answer the same without the target: not defined (no causal checks of its samples).",
    ):
        assert part in shortcuts, part
    for part in (
        "Jensen–Shannon divergence, q3 to q4 minus paraphrases: 0.034 nats [0.026, 0.042]",
        "n = 48: clusters of the smallest p at layer 4 to 5, step -1 to 2 from the answer (lower in the first arm, p = "
        "0.0001).",
        "**moved** (3 of 48 sample(s) left out).",
        "q1_vs_q2, n = 5: **no cluster** (5 image(s); a test needs 6 in a cell).",
    ):
        assert part in text, part


def test_findings_name_the_level_of_the_intervals(folder):
    write_findings(folder / "findings.md", folder, 0.9)
    text = (folder / "findings.md").read_text()
    assert "Brackets are 90 % intervals" in text
    assert "95 %" not in text


def test_each_finding_has_its_number_interval_n_and_verdict(folder):
    write_findings(folder / "findings.md", folder, 0.95)
    text = (folder / "findings.md").read_text()
    for part in (
        "# Findings: study mine asked of model tiny",
        "accuracy 1.00 [0.93, 1.00], n = 47",
        "(high band), lowest at layer 1 (early; layer 1 in 0.94 [0.83, 0.98] of images), n = 47 of 48 samples (left "
        "out: 1 "
        "failed).",
        "Maps are those at the first token of the answer, heads pooled by max; values are means over layers.",
        "-0.135 nats [-0.159, -0.110], n = 48, q = <0.0001 for a difference, 1.0000 for equivalence within ±0.1; "
        "**contradicted**",
        "not tested, n = 30 and 0; **no verdict** (0 image(s) in an arm; a test needs 6)",
        "attends to its target above every baseline, and answers of its type use it: AUROC 0.76 [0.72, 0.79] (without "
        "sinks 0.75, relative 0.81), n = 48; to the nearest baseline, the centred Gaussian, 0.083 [0.041, 0.124], "
        "image "
        "by image.",
        "Contrasts, tests of difference, gaussian data: a share of at most 0.062 false alarms in 2000 simulated "
        "datasets of this "
        "study's size and spread (counting_vs_spatial); every test passes the gate.",
        "Causal checks, tests of difference, resampled data: a share of at most 0.081 false alarms in 2000 simulated "
        "datasets "
        "of this "
        "study's size and spread (attribute, knockout); fails: attribute, knockout.",
    ):
        assert part in text, part


def findings_with(folder, root, **changes):
    """The findings with some tables replaced."""
    for name, rows in changes.items():
        publish(root, name, rows)
    write_findings(folder / "findings.md", folder, 0.95)
    return (folder / "findings.md").read_text()


def test_a_map_that_a_baseline_matches_is_said_to_be_no_better(folder, tmp_path):
    weak = [{**GROUNDING, "above_nearest_low": -0.01}]
    text = findings_with(folder, tmp_path, grounding=weak, causal_support=[{**SUPPORT, "uses": "undecided"}])
    assert "is not above every baseline: AUROC 0.76" in text


def test_a_value_without_an_interval_says_so(folder, tmp_path):
    none = {"above_nearest": -0.068, "above_nearest_low": np.nan, "above_nearest_high": np.nan}
    text = findings_with(folder, tmp_path, grounding=[{**GROUNDING, **none}])
    assert "-0.068 (no interval), image by image." in text
    text = findings_with(folder, tmp_path, grounding=[{**GROUNDING, **none, "above_nearest": np.nan}])
    assert "undefined, image by image." in text


def test_the_checks_behind_support_have_their_number_interval_n_q_and_verdict(folder):
    write_findings(folder / "findings.md", folder, 0.95)
    text = (folder / "findings.md").read_text()
    for part in (
        "**attribute**: the answer uses the target: knocking out its vision tokens rather than random ones -1.40 "
        "[-1.61, "
        "-1.20], n = 12, q = 0.0010, **moved -**; Spearman's ρ of attention and effect over regions 0.10 [-0.10, "
        "0.30], "
        "n = 12 (2 sample(s) left out), q = 0.0010, **undecided** (no margin declared).",
        "**spatial**: whether the target matters for the answer is not tested: knocking out its vision tokens rather "
        "than "
        "random ones not tested, n = 5 (1 sample(s) left out), **no verdict** (5 image(s) in an arm; a test needs 6).",
    ):
        assert part in text, part


@pytest.mark.parametrize(
    ("uses", "said", "strong", "weak"),
    [
        (
            "yes",
            "the answer uses the target",
            ", and answers of its type use it",
            ", though answers of its type use the target",
        ),
        (
            "no",
            "no use of the target was found",
            ", but no use of it was found",
            ", and no use of the target was found",
        ),
        ("undecided", "whether the target matters for the answer is undecided", "", ""),
        ("not tested", "whether the target matters for the answer is not tested", "", ""),
    ],
)
def test_the_wording_follows_the_causal_evidence(uses, said, strong, weak, folder, tmp_path):
    support = [{**SUPPORT, "uses": uses}]
    text = findings_with(folder, tmp_path, causal_support=support)
    assert f"**attribute**: {said}" in text
    assert f"attends to its target above every baseline{strong}: AUROC" in text
    assert ((" uses " in text) or (" use it" in text)) == (uses == "yes")
    text = findings_with(folder, tmp_path, grounding=[{**GROUNDING, "above_nearest_low": -0.01}])
    assert f"is not above every baseline{weak}: AUROC" in text
    assert ((" uses " in text) or (" use it" in text)) == (uses == "yes")


def test_support_of_one_type_says_nothing_of_another(folder, tmp_path):
    text = findings_with(folder, tmp_path, causal_support=[{**SUPPORT, "query_type": "spatial"}])
    assert "attends to its target above every baseline: AUROC" in text


def test_a_run_without_causal_checks_has_findings_too(folder, tmp_path):
    empty = {name: pd.DataFrame(columns=list(columns.COLUMNS[name])) for name in ("causal", "causal_support")}
    text = findings_with(folder, tmp_path, **empty)
    assert "\n\nNo type of query was asked.\n\n## Shortcuts" in text
    assert " uses " not in text


def test_methods_of_choosing_heads_and_conditions_have_a_sentence_each(folder):
    write_findings(folder / "findings.md", folder, 0.95)
    text = (folder / "findings.md").read_text()
    for part in (
        "AUROC against the target on images of the split evaluate: **selected heads** (L4H2, L5H0) 0.87 [0.84, 0.90], "
        "n = 24, 95 % of the sets [0.61, 0.79], p = 0.0010 that such a set is as good as the selected heads, 0.123 "
        "[0.091, 0.157] to the mean over all heads of every layer; **LocalizationHeads**: not evaluated (5 image(s); "
        "an interval needs "
        "6).",
        "**Control twin**: accuracy 0.94 [0.81, 0.98] (q1, n = 35).",
        "**Blank**: share of images whose answer stays the same 0.97 [0.85, 0.99] (q1, n = 34).",
    ):
        assert part in text, part
