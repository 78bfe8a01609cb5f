"""Labels, units and definitions of the amortisation gap: errors with one dictionary at equal L0."""

from __future__ import annotations

from sparsecode.reports.builders.quantity import Quantity

__all__ = ["AMORTISATION_QUANTITIES"]

AMORTISATION_QUANTITIES: dict[str, Quantity] = {
    "coder_error": Quantity("error of the coder", "share", "Normalised squared error with the coder's codes.", "lower"),
    "refitted": Quantity("best amplitudes", "share", "Normalised squared error with the best amplitudes on the coder's support.", "lower"),
    "pursuit": Quantity("matching pursuit", "share", "Normalised squared error by orthogonal matching pursuit with as many atoms.", "lower"),
    "lasso": Quantity("lasso", "share", "Normalised squared error of the L1 optimum with the same mean L0.", "lower"),
    "lasso_refitted": Quantity("lasso, best amplitudes", "share", "The same with the best amplitudes on its support.", "lower"),
    "best": Quantity("best of these", "share", "The least of the four: what so many atoms of this dictionary can do.", "lower"),
    "gap": Quantity("amortisation gap", "share", "Error of the coder less the best one at equal L0, same dictionary.", "lower"),
    "amplitude_gap": Quantity("of it: amplitudes", "share", "What the best amplitudes on the coder's support would gain.", "lower"),
    "support_gap": Quantity("of it: support", "share", "What another support would gain besides.", "lower"),
    "positive": Quantity("codes at least 0", "", "Whether all of these are codes of 0 or more, as the coder's are."),
    "lasso_weight": Quantity("weight of the lasso", "", "The penalty weight, for atoms of norm 1, that gives the L1 optimum the same mean L0."),
    "lasso_l0": Quantity("L0 of the lasso", "codes per sample", "The mean L0 that this weight reaches."),
    "lasso_gap": Quantity("duality gap of the lasso", "relative", "The largest relative duality gap of these codes.", "lower"),
}  # fmt: skip
