"""Gallery: chosen samples, each as its image with the target and as the map over the image."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from attention_atlas.paper import overlay
from attention_atlas.paper.overlay import Selected
from attention_atlas.paper.sample_grid import Caption, draw_grid, mass_text
from attention_atlas.paper.style import house_style, message_figure


@house_style
def draw(samples: list[Selected], settings: Mapping[str, Any]) -> Figure:
    """Every sample with its image, boxes of its target, map over the image, question, answer, entropy and place."""
    if not samples:
        return message_figure("No gallery: no sample was chosen, or none of those chosen has an answer.")
    left_out = samples[0].maps.attrs.get("left_out", "")
    header = f"Left out: {left_out}." if left_out else ""
    return draw_grid(samples, settings, min(3, len(samples)), [caption(selected) for selected in samples], header)


def caption(selected: Selected) -> Caption:
    """A sample's query, which map is shown, its entropy, vision mass and largest weight, whose it is, its cells."""
    layer = int(selected.told("shown_layer"))
    return Caption(
        f"{selected.told('query_id')} {selected.told('query_type')}",
        (
            f"layer {layer}, {overlay.entropy_text(selected, layer)}",
            mass_text(selected),
            overlay.place_text(selected),
            ", ".join(filter(None, [selected.sample_id, overlay.target_text(selected), overlay.cells_text(selected)])),
        ),
    )
