"""Files made from the types of the settings: the default config.yaml, the JSON schemas, the table in the docs."""

import json
import textwrap
from pathlib import Path
from typing import Any

import yaml

from attention_atlas.config import ContrastEntry, ModelEntry, Models, QueryType, Run, Section, Settings, is_section
from attention_atlas.files import write_text

LONGEST_LINE = 160
DEMO_RUNS = [{"study": "shapes", "model": "shapes-tiny"}]
# The demo shows every correction; values weighted by their norms double the maps, so elsewhere they are an option.
DEMO = {"runs": DEMO_RUNS, "capture": {"value_weighted": True}}
HEADER = """\
# Settings of Attention Atlas. Each is described in docs/settings.md; unknown keys are refused.
# A new study or model is one line in `runs`; studies lie in data/<study>/, models in config/models.yaml.
"""


def generated_files() -> dict[str, str]:
    """The text of every file that is made from the types, by its path."""
    return {
        "config/config.yaml": default_yaml(),
        "config/config.schema.json": schema(Settings),
        "config/models.schema.json": schema(Models),
        "docs/settings.md": documentation(),
    }


def write_generated_files(root: Path) -> list[Path]:
    """Write the generated files below `root`; an edited config.yaml is kept."""
    written = []
    for name, text in generated_files().items():
        path = root / name
        if name != "config/config.yaml" or not path.exists():
            write_text(path, text)
            written.append(path)
    return written


def schema(section: type[Section]) -> str:
    """The JSON schema of a file of settings."""
    return json.dumps(section.model_json_schema(), indent=2) + "\n"


def default_yaml() -> str:
    """The settings of the demo, each with its description."""
    settings = Settings.model_validate(DEMO)
    values = settings.model_dump(mode="json")
    values["runs"] = DEMO_RUNS
    return HEADER + "".join(f"\n{entry(name, values[name])}" for name in Settings.model_fields)


def entry(name: str, value: Any) -> str:
    """One top-level setting as commented YAML."""
    field = Settings.model_fields[name]
    if is_section(field.annotation):
        lines = [f"{name}:  # {summary(field.annotation)}"]
        for key, part in field.annotation.model_fields.items():  # type: ignore[union-attr]
            lines += [*comment(part.description, "  "), *textwrap.indent(setting(key, value[key]), "  ").splitlines()]
        return "\n".join(lines) + "\n"
    lines = comment(field.description, "")
    if name == "runs":
        return "\n".join([*lines, f"{name}:", *(f"  - {flow(run)}" for run in value)]) + "\n"
    if name == "query_types":
        return "\n".join([*lines, f"{name}:", textwrap.indent(query_types(value), "  ")])
    if name == "contrasts":
        return "\n".join([*lines, f"{name}:", textwrap.indent(contrasts(value), "  ")])
    return "\n".join([*lines, f"{name}: {flow(value)}"]) + "\n"


def setting(key: str, value: Any) -> str:
    """One setting of a section; a mapping that is too long for a line has a line an entry."""
    line = f"{key}: {flow(value)}"
    if len(line) <= LONGEST_LINE or not isinstance(value, dict):
        return line
    return "\n".join([f"{key}:", *(f"  {flow(name)}: {flow(part)}" for name, part in value.items())])


def query_types(value: dict[str, Any]) -> str:
    """Query types with one line an answer."""
    lines = []
    for name, query_type in value.items():
        lines += [f"{name}:", f"  needs_target: {flow(query_type['needs_target'])}"]
        lines += [f"  without_target: {flow(query_type['without_target'])}", "  answers:"]
        lines += [f"    {flow(answer)}: {flow(others)}" for answer, others in query_type["answers"].items()]
    return "\n".join(lines) + "\n"


def contrasts(value: dict[str, Any]) -> str:
    """Contrasts, each setting that is not its default on one line."""
    lines = []
    for name, contrast in value.items():
        lines += [f"{name}:", *(f"  {key}: {flow(part)}" for key, part in declared(contrast).items())]
    return "\n".join(lines) + "\n"


def declared(contrast: dict[str, Any]) -> dict[str, Any]:
    """A contrast without what is left at its default."""
    return ContrastEntry.model_validate(contrast).model_dump(mode="json", exclude_defaults=True)


def comment(text: str | None, indent: str) -> list[str]:
    """A description as comment lines."""
    return [f"{indent}# {line}" for line in textwrap.wrap(text or "", 110)]


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip()
    return text.removesuffix("\n...").strip()


def documentation() -> str:
    """docs/settings.md: every setting with its type, default and meaning."""
    sections: dict[str, type[Section]] = {
        "config/config.yaml": Settings,
        "config/config.yaml: one entry of `runs`": Run,
        "config/config.yaml: one entry of `query_types`": QueryType,
        "config/config.yaml: one entry of `contrasts`": ContrastEntry,
        "config/models.yaml: one entry of `models`": ModelEntry,
    }
    lines = ["# Settings", "", "Made from the types in `attention_atlas/config.py` by `atlas settings write`."]
    for title, section in sections.items():
        rows = [row for name in section.model_fields for row in rows_of(name, section)]
        lines += ["", f"## {title}", "", *table(rows)]
    return "\n".join([*lines, ""])


def table(rows: list[tuple[str, str, str, str]]) -> list[str]:
    """Rows as a Markdown table."""
    lines = ["| setting | values | default | meaning |", "| --- | --- | --- | --- |"]
    return lines + [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]


def rows_of(name: str, section: type[Section], prefix: str = "") -> list[tuple[str, str, str, str]]:
    """The rows of one setting: itself, or the settings of its section."""
    field = section.model_fields[name]
    if is_section(field.annotation):
        parts = field.annotation.model_fields  # type: ignore[union-attr]
        return [row for part in parts for row in rows_of(part, field.annotation, f"{prefix}{name}.")]  # type: ignore[arg-type]
    values = section.model_json_schema()["properties"][name]
    if field.is_required():
        default = "required"
    else:
        default = (
            "see file" if name in ("query_types", "contrasts", "paraphrases") else f"`{flow(values.get('default'))}`"
        )
    return [(f"`{prefix}{name}`", accepted(values), default, field.description or "")]


def accepted(values: dict[str, Any]) -> str:
    """What a setting accepts, from its JSON schema."""
    if "anyOf" in values:
        return " or ".join(accepted(option) for option in values["anyOf"])
    if "enum" in values:
        return ", ".join(f"`{option}`" for option in values["enum"])
    if "const" in values:
        return f"`{values['const']}`"
    if values.get("type") == "array" and "prefixItems" in values:
        return f"[{', '.join(accepted(item) for item in values['prefixItems'])}]"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = ", ".join(f"{sign} {values[bound]}" for bound, sign in bounds.items() if bound in values)
    kind = {"array": "list", "object": "mapping", "null": "null"}.get(
        values.get("type", ""), values.get("type", "section")
    )
    return f"{kind} {limits}".strip()


def summary(section: Any) -> str:
    """The first line of a section's docstring, as a comment."""
    return (section.__doc__ or "").strip().splitlines()[0].rstrip(".")
