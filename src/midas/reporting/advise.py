"""Advice on what to try next, derived from the findings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from midas.config import Config
    from midas.reporting.finding import Finding


@dataclass(frozen=True)
class Advice:
    """Something to try next.

    Attributes
    ----------
    sentence
        What to do and why.
    toml
        Lines of a configuration file; empty if no setting helps.
    """

    sentence: str
    toml: str = ""


def advise(findings: list[Finding], config: Config, n_epochs: int) -> list[Advice]:
    """Return advice, most useful first; each item follows from a finding.

    Parameters
    ----------
    config
        Configuration of the model.
    n_epochs
        Number of epochs that it was trained for.
    """
    level = {finding.key: finding.level for finding in findings}
    causes = {finding.cause for finding in findings}
    bad = {key for key, found in level.items() if found in {"look", "poor"}}
    falling, left, over = (cause in causes for cause in ("still falling", "batch left", "over-corrected"))
    network, objective = config.network, config.objective
    rules = [
        (falling, Advice("Train longer first: other findings may vanish.", f"[training]\nepochs = {2 * n_epochs}")),
        (
            "over-fitted" in causes,
            Advice(
                "The model over-fits: regularise it, or use fewer epochs.",
                f"[network]\ndropout = {max(0.1, min(0.5, 2 * network.dropout)):g}",
            ),
        ),
        (
            level.get("bridges") == "poor",
            Advice(
                "Add a batch, or cells, that share a modality with both sides; or name the genes of features in var['gene']."
            ),
        ),
        (
            "under-trained" in causes and not falling,
            Advice("Neither batches nor structure are as they should be: train longer, before anything else."),
        ),
        (
            left and over,
            Advice(
                "Batch is left and structure suffers as well: the weight of the discriminators would trade one for the other, "
                "so leave it. Look whether one batch alone is at fault."
            ),
        ),
        (
            left and not over and "under-trained" not in causes,
            Advice(
                "Batch is left in the embedding: let the discriminators weigh more, and watch that types stay apart.",
                f"[objective]\nadversarial = {max(10.0, 2 * objective.adversarial):g}",
            ),
        ),
        (
            "not learned" in causes and not falling,
            Advice("Structure was lost, and there is one batch: train longer."),
        ),
        (
            over and not left,
            Advice(
                "Structure was lost: let the discriminators weigh less, so that biology is not removed with the batch. If "
                "batches share hardly any type, integrate them with others that have both.",
                f"[objective]\nadversarial = {objective.adversarial / 4:g}",
            ),
        ),
        (
            "alignment" in bad,
            Advice(
                "Modalities do not meet closely: weigh their alignment more.",
                f"[objective]\nalignment = {max(10.0, 2 * objective.alignment):g}",
            ),
        ),
        (
            {"technical", "batch"} <= bad,
            Advice(
                "Give the batch a place outside of the embedding: one more dimension of u, or a larger weight of its batch "
                "term.",
                f"[network]\ndim_u = {network.dim_u + 1}",
            ),
        ),
        (
            level.get("training") == "none" and config.training.validation_fraction == 0,
            Advice("Hold cells out, to see over-fitting.", "[training]\nvalidation_fraction = 0.1"),
        ),
    ]
    usual = Advice("Nothing stands out. Repeat with another seed to see how stable the picture is.")
    return [advice for holds, advice in rules if holds] or [usual]
