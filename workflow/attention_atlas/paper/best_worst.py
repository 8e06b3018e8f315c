"""Best and worst: the samples whose maps agree most and least with their targets, as image and map over the image."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from attention_atlas.paper.overlay import Selected, place_text
from attention_atlas.paper.sample_grid import Caption, draw_grid, largest_text
from attention_atlas.paper.style import house_style, message_figure


@house_style
def draw(samples: list[Selected], settings: Mapping[str, Any]) -> Figure:
    """The best samples in the first row, the worst in the second; each map is of the layer of its highest AUROC."""
    if not samples:
        return message_figure("No best and worst samples: no sample has both a target and a map to score.")
    ranks = [selected.told("rank") for selected in samples]
    header = (
        f"Best and worst of {samples[0].told('ranked')} samples by the AUROC of the map against the target, mean over "
        "layers, at most one sample an image. Shown: the layer of the sample's highest AUROC."
    )
    columns = max(ranks.count("best"), min(2, len(samples)))
    return draw_grid(samples, settings, columns, [caption(selected) for selected in samples], header)


def caption(selected: Selected) -> Caption:
    """Which of both a sample is and by which score, which map is shown, its own score and largest weight."""
    return Caption(
        f"{selected.told('rank')}: AUROC {selected.told('score'):.2f}, {selected.told('query_type')}",
        (
            f"layer {selected.told('shown_layer')}: AUROC {selected.told('shown_score'):.2f}",
            place_text(selected),
            largest_text(selected),
            selected.sample_id,
        ),
    )
