"""Of the settings that name samples, queries or query types, what one study uses: the rest must not rerun its jobs."""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

from attention_atlas.declared import Declared
from attention_atlas.inputs.study import Study

# Settings that name samples. Figures show the views of a sample too: its maps on further images.
OF_SAMPLES = ("capture.full_samples", "causal.samples")
OF_VIEWS = ("figures.gallery", "figures.layers_page")
V = TypeVar("V", bound=dict[str, Any])


def used_by(study: Study, values: V) -> V:
    """Return settings without the query types, paraphrases and sample ids that no sample of a study, or a part, has.

    Sections that are not there are left out. A job cannot see what is removed, and reruns for none of it.
    """
    used = copied(values)
    used.update({name: copied(part) for name, part in values.items()})
    if "query_types" in used:
        asked = set(study.samples["query_type"].tolist())
        used["query_types"] = {name: entry for name, entry in used["query_types"].items() if name in asked}
    controls = section_of(used, "controls")
    if "paraphrases" in controls:
        queries = study.samples["query"].tolist() if "paraphrase" in controls["conditions"] else []
        controls["paraphrases"] = matching(controls["paraphrases"], set(queries))
    if "generic_query" in controls and "generic" not in controls["conditions"]:
        controls["generic_query"] = ""
    for key, names in named_samples(used):
        section, name = key.split(".")
        known = ids_for(key, study)
        kept = [one for one in names if one in known]
        used[section][name] = kept if isinstance(used[section][name], list) else "".join(kept)
    capture = section_of(used, "capture")
    if "full_samples" in capture and not capture["full_samples"]:
        capture["rows"] = "last"  # what `all` means without a sample, which the settings refuse
    return used


def left_out(given: Mapping[str, Any], used: Mapping[str, Any]) -> Iterator[str]:
    """Say which sample ids of the given settings are not among those used."""
    kept = dict(named_samples(used))
    for key, names in named_samples(given):
        missing = [name for name in names if name not in kept.get(key, ())]
        if missing:
            yield f"{key}: {', '.join(missing)} not in this study"


def named_samples(values: Mapping[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """Yield each setting of `values` that names samples, with the names; settings without any are left out."""
    for key in (*OF_SAMPLES, *OF_VIEWS):
        section, name = key.split(".")
        if name in section_of(values, section):
            given = values[section][name]
            names = list(given) if isinstance(given, list) else [given]
            if any(names):
                yield key, names


def ids_for(key: str, study: Study) -> set[str]:
    """Return the sample ids of a study that a setting may name."""
    return set((study.views if key in OF_VIEWS else study).samples["sample_id"].tolist())


def matching(paraphrases: Mapping[str, str], queries: Iterable[str]) -> dict[str, str]:
    """Return the paraphrases whose expression matches one of the queries."""
    queries = list(queries)
    return {
        expression: wording
        for expression, wording in paraphrases.items()
        if any(re.fullmatch(expression, query) for query in queries)
    }


def section_of(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a section; an empty one where it is not there."""
    if name not in values:  # `get` of declared settings fails where nothing is declared
        return {}
    section: dict[str, Any] = values[name]
    return section


def copied(part: Any) -> Any:
    """Return a copy of a section that may be changed."""
    if isinstance(part, Declared):
        return Declared(part, part.place)
    return dict(part) if isinstance(part, dict) else part
