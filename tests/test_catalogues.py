"""The code behind each rule: the lists that the rules have as inputs name every module whose code can matter."""

import grimp
import pytest
from attention_atlas.analysis.catalogue import CAUSAL, COMPARISONS, HEAD_TABLES, STEPS, SUMMARIES
from attention_atlas.attention.catalogue import CONTROL_MODULES, EXTRACTION_MODULES, INTERVENTION_MODULES
from attention_atlas.paper import catalogue as paper

PACKAGE = "attention_atlas"
# They say what is allowed, read files or refuse them, tell errors and name sources; they decide no number.
DECIDE_NOTHING = {
    *("", "config", "errors", "files", "provenance", "readers", "reading", "seals", "settings_files", "yaml_reading"),
    *("attention.devices", "inputs.files", "inputs.box_units", "analysis.table_columns"),
    "folding",  # the settings check spellings by it; where it decides an answer, the next test asks for it
}
ANSWERS = ("inputs.answers", "inputs.phrasing")
# Read for checking alone, which can stop a step but not change its output.
CHECKS_ALONE = {
    "extract": {"inputs.study", *ANSWERS, "attention.catalogue"},
    "extract_controls": {*ANSWERS, "attention.catalogue"},
    "intervene": {*ANSWERS, "analysis.blocks", "analysis.rows", "store"},
    "answers": {"inputs.images", "analysis.rows", "store"},
    "transcript": {*ANSWERS, "inputs.conditions", "inputs.study", "inputs.images", "inputs.views"},
    "mass": {*ANSWERS, "inputs.conditions", "inputs.study", "inputs.images", "inputs.views"},
    "summaries": {"store"},  # the names of the masses
    "selected_maps": {*ANSWERS, "inputs.images", "analysis.blocks", "analysis.rows"},
    "numbers": {"paper.catalogue"},
    "step_maps": {"analysis.pooling"},
    "condition_summary": {"store"},
    "ground": {*ANSWERS},
    "conditions": {
        "analysis.hypothesis_tests",
        "analysis.rows",
        "analysis.statistics",
        *ANSWERS,
    },
    "heads": {"analysis.blocks", "analysis.rows", *ANSWERS},
    # the names of masses; what computes the scores is behind `ground` and `conditions`
    "compare": {
        *("cells", "analysis.blocks"),
        *("store", "analysis.grounding", "analysis.targets", "analysis.rows", "inputs.conditions", "inputs.images"),
    },
    "causal": {"analysis.rows"},
}
# Modules that a command runs beside the rule's own.
RUN_TOO = {
    "compare": ("analysis.grounding_summaries", "analysis.shortcut"),
    "extract_controls": ("attention.extraction",),
    "intervene": ("analysis.causal_subjects",),
}
GRAPH = grimp.build_graph(PACKAGE)
RULES = {
    "extract": ("attention.extraction", EXTRACTION_MODULES),
    "extract_controls": ("attention.control_conditions", CONTROL_MODULES),
    "intervene": ("attention.interventions", INTERVENTION_MODULES),
    **{
        name: (f"analysis.{module}", STEPS[name].modules)
        for name, module in {
            "transcript": "transcript",
            "answers": "transcript",
            "focus": "focus",
            "mass": "transcript",
            "summaries": "summaries",
            "selected_maps": "selected_maps",
            "ground": "grounding_tables",
            "step_maps": "step_maps",
            "conditions": "conditions",
            "condition_summary": "condition_summaries",
            "heads": "head_tables",
            "compare": "comparisons",
            "causal": "causal_tables",
        }.items()
    },
    "table": ("paper.tables", paper.TABLE_MODULES),
    "numbers": ("paper.numbers", paper.NUMBERS_MODULES),
    "summary": ("paper.summary", paper.SUMMARY_MODULES),
    **{f"figure {name}": (f"paper.{name}", paper.figure_modules(name)) for name in paper.FIGURES},
}


@pytest.mark.parametrize("rule", RULES)
def test_every_module_that_a_rule_runs_is_among_its_inputs(rule):
    module, listed = RULES[rule]
    run = {f"{PACKAGE}.{name}" for name in (module, *RUN_TOO.get(rule, ()))}
    reached = run.union(*(GRAPH.find_upstream_modules(name) for name in run))
    names = {name.removeprefix(PACKAGE).removeprefix(".") for name in reached}
    packages = {name for name in names if any(other.startswith(f"{name}.") for other in names)}
    needed = names - packages - DECIDE_NOTHING - CHECKS_ALONE.get(rule, set())
    assert needed <= set(listed), f"not among the inputs of {rule}: {sorted(needed - set(listed))}"
    # the command opens maps and tables for the module; all figures of tables share their list, and all of maps
    opened = {"store", "paper.columns", "paper.panels", "paper.sample_grid", "paper.texts"}
    assert set(listed) <= names | opened, f"inputs of {rule} that it does not run: {sorted(set(listed) - names)}"


def test_what_finds_answers_is_among_the_inputs_wherever_answers_are_found():
    found_by = {*ANSWERS, "folding"}
    for rule, (_, listed) in RULES.items():
        assert found_by <= set(listed) or not found_by & set(listed), rule


def test_the_summaries_are_those_that_the_analysis_makes_and_the_paper_prints():
    from attention_atlas.analysis import summaries

    assert set(SUMMARIES) == set(summaries.SUMMARIES)
    assert {*SUMMARIES, *COMPARISONS, *HEAD_TABLES, *CAUSAL, "conditions"} == set(paper.TABLES)
