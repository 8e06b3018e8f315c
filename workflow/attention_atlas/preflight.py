"""Check runs before any job starts: sample ids that no study has, and settings that a model cannot satisfy.

A mistake found by a rule after the maps would cost all the maps. The checks need only the tables, the settings and the
model's small JSON files (for a model from the hub: once they are in the hub's cache), not torch.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from attention_atlas.analysis.bands import layer_band, layer_cuts
from attention_atlas.attention.checkpoints import (
    GATED,
    GATED_TYPES,
    MODEL_TYPES,
    SQUARE_TYPES,
    Architecture,
    architecture_of,
    grid_problem,
)
from attention_atlas.config import Controls, ModelEntry, Settings
from attention_atlas.errors import AtlasError, nearest
from attention_atlas.inputs.controls import paraphrased
from attention_atlas.inputs.shards import rows_of
from attention_atlas.inputs.study import MOST_PROBLEMS, SPECIAL_TOKEN, Study
from attention_atlas.inputs.views import of_one_image
from attention_atlas.paper.numbers import same_macros

Runs = Mapping[tuple[str, str], ModelEntry]


def check(settings: Settings, studies: Mapping[str, Study], runs: Runs, listed: Collection[str] = ()) -> None:
    """Refuse runs (study, model) that a later job would refuse, listing every problem at once.

    `listed` are all studies in the settings, including those not run now: the settings may name their samples too.
    """
    found = list(problems(settings, studies, runs, listed))
    if found:
        more = [f"... and {len(found) - MOST_PROBLEMS} more"] if len(found) > MOST_PROBLEMS else []
        lines = "\n  ".join([*found[:MOST_PROBLEMS], *more])
        raise AtlasError(f"config/config.yaml: {len(found)} problem(s)\n  {lines}")


def problems(
    settings: Settings, studies: Mapping[str, Study], runs: Runs, listed: Collection[str] = ()
) -> Iterator[str]:
    """Yield the problems of runs, one sentence each."""
    yield from unknown_samples(settings, studies, sample_ids(set(listed) - set(studies)))
    yield from texts(settings)
    for tables in studies.values():
        yield from wordings(settings.controls, tables)
    yield from same_macros(
        {(study, model): studies[study].views.samples["query_id"].unique().tolist() for study, model in runs},
        list(settings.contrasts),
    )
    for (study, model), entry in runs.items():
        yield from model_problems(settings, studies[study], model, entry)


def sample_ids(studies: Iterable[str]) -> set[str]:
    """Return the sample ids of data/<study>; skip studies whose table cannot be read."""
    found: set[str] = set()
    for study in studies:
        with suppress(AtlasError):
            found |= {row["sample_id"] for _, row in rows_of(Path("data", study, "samples.csv"))}
    return found


def unknown_samples(
    settings: Settings, studies: Mapping[str, Study], known_elsewhere: Collection[str]
) -> Iterator[str]:
    """Yield samples that the settings name and no study has. Each study uses those that it has."""
    ids = [name for study in studies.values() for name in study.samples["sample_id"].tolist()]
    single = {name for study in studies.values() for name in of_one_image(study.samples)["sample_id"]}
    known = {*ids, *known_elsewhere}
    views = {name for study in studies.values() for name in study.views.samples["sample_id"]}
    page = [settings.figures.layers_page] if settings.figures.layers_page else []
    named = {
        "capture.full_samples": (settings.capture.full_samples, known),
        "causal.samples": (settings.causal.samples, known),
        "figures.gallery": (settings.figures.gallery, known | views),
        "figures.layers_page": (page, known | views),
    }
    where = ", ".join(str(study.folder / "samples.csv") for study in studies.values())
    for setting, (names, there) in named.items():
        for name in names:
            if name not in there:
                yield f"{setting}: {name!r} is no sample of {where}.{nearest(name, ids)[:200]}"
            elif setting == "causal.samples" and name in ids and name not in single:
                yield f"{setting}: {name!r} is about several images; name samples of one image alone"


def texts(settings: Settings) -> Iterator[str]:
    """Texts of the settings that would forge a turn or stand for an image, or ask nothing."""
    given = {"extraction.system_prompt": settings.extraction.system_prompt}
    if "generic" in settings.controls.conditions:
        given["controls.generic_query"] = settings.controls.generic_query
        if not settings.controls.generic_query.strip():
            yield "controls.generic_query is empty; write a question, or leave generic out of controls.conditions"
    for setting, text in given.items():
        special = SPECIAL_TOKEN.search(text)
        if special:
            yield f"{setting} {text!r} contains the special token {special.group()!r}; leave it out"


def wordings(controls: Controls, study: Study) -> Iterator[str]:
    """What is wrong with the paraphrases of a study's queries: two for one query, an empty one, a special token."""
    if "paraphrase" not in controls.conditions:
        return
    own = of_one_image(study.samples[study.samples["condition"] == ""])
    told: set[str] = set()
    for query in own["query"].unique():
        try:
            wording = paraphrased(query, controls.paraphrases)
        except AtlasError as error:
            if str(error) not in told:
                yield str(error)
            told.add(str(error))
            continue
        special = SPECIAL_TOKEN.search(wording or "")
        if special:
            yield f"controls.paraphrases: {query!r} becomes {wording!r}, with the special token {special.group()!r}"
        if wording is not None and not wording.strip():
            yield f"controls.paraphrases: {query!r} becomes an empty text; write its other wording"


def model_problems(settings: Settings, study: Study, name: str, entry: ModelEntry) -> Iterator[str]:
    """Yield what the settings require and the model cannot do."""
    known = architecture_of(entry)
    if known is None:
        return
    if known.model_type not in MODEL_TYPES:
        yield (
            f"model {name!r}: is of model_type {known.model_type!r}; those that can be asked: "
            f"{', '.join(MODEL_TYPES)}. Name another model in config/models.yaml"
        )
        return
    if settings.capture.value_weighted and known.model_type in GATED_TYPES:
        yield f"model {name!r}: {GATED['value_weighted']}. Set capture.value_weighted to false"
    yield from head_problems(settings, study, name, known)
    yield from causal_problems(settings, study, name, known)
    yield from grid_problems(name, entry, known)


def head_problems(settings: Settings, study: Study, name: str, known: Architecture) -> Iterator[str]:
    """Yield a problem if heads.count exceeds the model's heads, in a study with targets."""
    heads = len(known.captured) * known.num_heads
    if heads and settings.heads.count > heads and has_targets(study):
        yield f"heads.count is {settings.heads.count}, but the model {name!r} has {heads} heads; lower it"


def causal_problems(settings: Settings, study: Study, name: str, known: Architecture) -> Iterator[str]:
    """Knockouts in layers that cannot be cut, or in a band without layers."""
    if "knockout" not in settings.causal.checks or not known.layer_kinds or not has_targets(study):
        return
    if len(known.captured) < known.num_layers:
        yield (
            f"model {name!r} has layers that are not full attention; what they see of a vision token cannot be cut. "
            "Leave knockout out of causal.checks"
        )
    cuts = layer_cuts(settings.bands.model_dump(), known.num_layers)
    band = settings.causal.layers
    if band != "all" and band not in {layer_band(layer, cuts) for layer in known.captured}:
        yield (
            f"causal.layers: none of the {known.num_layers} layers of model {name!r} is {band} (bands.layers); name "
            "another band, or all"
        )


def has_targets(study: Study) -> bool:
    """Whether any sample of a study names its target."""
    return bool(((study.samples["condition"] == "") & (study.samples["target_object"] != "")).any())


def grid_problems(name: str, entry: ModelEntry, known: Architecture) -> Iterator[str]:
    """Yield a problem if the model's image processor would not keep the grid."""
    size = known.processor.get("size")
    told = [known.processor.get(key) for key in ("patch_size", "merge_size")]
    told += [size.get(key) for key in ("shortest_edge", "longest_edge")] if isinstance(size, dict) else [None]
    numbers = [one for one in told if isinstance(one, int)]
    if entry.grid == "native" or known.model_type in SQUARE_TYPES or len(numbers) < 4:
        return
    patch, merge, least, most = numbers
    problem = grid_problem(name, (int(entry.grid[0]), int(entry.grid[1])), patch * merge, least, most)
    if problem:
        yield problem


def without_verdict(settings: Settings, study: Study) -> Iterator[str]:
    """The declared contrasts that a study cannot make, each with the queries or types that it lacks."""
    own = study.views.samples
    own = own[own["condition"] == ""]
    there = {"query_ids": own["query_id"].unique().tolist(), "query_types": own["query_type"].unique().tolist()}
    for name, entry in settings.contrasts.items():
        arms = [entry.first, entry.second] if entry.kind in ("paired", "unpaired") else [entry.first]
        for column, known in there.items():
            missing = sorted({one for arm in arms for one in getattr(arm, column)} - set(known))
            if missing:
                yield f"{name}: no {'query' if column == 'query_ids' else 'query of type'} {', '.join(missing)}"
                break


def never_answered(settings: Settings, study: Study) -> list[str]:
    """Types of a study's queries that have no answer step to look at: the settings name no answer of theirs."""
    if settings.steps.selector != "answer":
        return []
    asked = sorted(set(study.samples["query_type"]))
    return [name for name in asked if not settings.query_types[name].answers]
