"""Step selectors: which generated token's map a statistic is about."""

import pandas as pd

SELECTORS = ("answer", "first", "final", "last", "all", "mean")


def selected_steps(samples: pd.DataFrame, answers: pd.DataFrame, selector: str) -> pd.DataFrame:
    """The steps that a selector picks: rows of sample_id, step; samples without such a step are left out.

    `samples` has sample_id, num_steps, stop_reason; `answers` is the answers table. answer: first token of the answer
    span; first: step 0; final: the last token before the end token; last: the end token included; all, mean: each step.
    """
    done = samples[samples["num_steps"] > 0]
    if selector in ("all", "mean"):
        every = done.loc[done.index.repeat(done["num_steps"]), ["sample_id"]]
        return every.assign(step=every.groupby("sample_id", sort=False).cumcount()).reset_index(drop=True)
    if selector == "answer":
        step = done["sample_id"].map(answers.set_index("sample_id")["answer_step"])
    elif selector == "first":
        step = done["num_steps"] * 0
    else:
        ended = done["stop_reason"] == "end_token"
        step = done["num_steps"] - 1 - (ended if selector == "final" else 0)
    chosen = pd.DataFrame({"sample_id": done["sample_id"], "step": step})
    return chosen[chosen["step"] >= 0].astype({"step": int}).reset_index(drop=True)
