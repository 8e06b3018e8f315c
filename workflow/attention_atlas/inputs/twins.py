"""Control twins."""

from itertools import combinations

import pandas as pd


def control_objects(objects: pd.DataFrame, targets: list[str]) -> list[str] | None:
    """As many other objects as targets, nearest in total area; None where too few are left."""
    area = ((objects["x_max"] - objects["x_min"]) * (objects["y_max"] - objects["y_min"])).to_numpy()
    ids = objects["object_id"].tolist()
    wanted = sum(a for a, name in zip(area, ids, strict=True) if name in targets)
    others = [n for n, name in enumerate(ids) if name not in targets]
    if len(others) < len(targets):
        return None
    best = min(combinations(others, len(targets)), key=lambda chosen: abs(sum(area[list(chosen)]) - wanted))
    return [ids[n] for n in best]
