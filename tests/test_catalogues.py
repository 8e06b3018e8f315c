"""The code behind each rule: the lists that the rules have as inputs name every module whose code can matter."""

import grimp
import pytest
from attention_atlas.analysis.catalogue import COMPARISONS, STEPS, SUMMARIES
from attention_atlas.attention.catalogue import EXTRACTION_MODULES
from attention_atlas.paper import catalogue as paper

PACKAGE = "attention_atlas"
# They say what is allowed, tell errors and name sources; they decide no number.
DECIDE_NOTHING = {"", "config", "errors", "provenance", "settings_files"}
# Read for checking alone, which can stop a step but not change its output.
CHECKS_ALONE = {
    "extract": {"inputs.study", "inputs.answers", "attention.catalogue"},
    "answers": {"inputs.images", "analysis.rows", "store"},
    "transcript": {"inputs.answers", "inputs.study", "inputs.images"},
    "mass": {"inputs.answers", "inputs.study", "inputs.images"},
    "summaries": {"store"},  # the names of the masses
    "selected_maps": {"inputs.answers", "inputs.images", "analysis.rows"},
    "numbers": {"paper.catalogue"},
    "ground": {"analysis.rows", "inputs.answers", "inputs.images"},
    # the names of masses and corrections; what computes the scores is behind `ground`
    "compare": {
        *("store", "analysis.corrections", "analysis.grounding", "analysis.targets", "analysis.focus"),
        "analysis.massive_sinks",
        *("analysis.pooling", "analysis.rows", "inputs.study", "inputs.answers", "inputs.images"),
    },
}
# Modules that a command runs beside the rule's own.
RUN_TOO = {"compare": ("analysis.grounding_summaries",)}
GRAPH = grimp.build_graph(PACKAGE)
RULES = {
    "extract": ("attention.extraction", EXTRACTION_MODULES),
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
            "compare": "comparisons",
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
    # the command opens maps and tables for the module; all figures of tables share their list
    opened = {"store", "paper.columns", "paper.panels"}
    assert set(listed) <= names | opened, f"inputs of {rule} that it does not run: {sorted(set(listed) - names)}"


def test_the_summaries_are_those_that_the_analysis_makes_and_the_paper_prints():
    from attention_atlas.analysis import summaries

    assert set(SUMMARIES) == set(summaries.SUMMARIES)
    assert {*SUMMARIES, *COMPARISONS} == set(paper.TABLES)
