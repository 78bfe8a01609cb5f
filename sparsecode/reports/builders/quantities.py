"""Labels, units and definitions of the quantities in a report."""

from __future__ import annotations

import math
import re

from sparsecode.reports.builders.amortisation_quantities import AMORTISATION_QUANTITIES
from sparsecode.reports.builders.comparison_quantities import COMPARISON_QUANTITIES
from sparsecode.reports.builders.quantity import Better, Quantity
from sparsecode.reports.builders.unit_quantities import UNIT_QUANTITIES
from sparsecode.reports.document import Definition

__all__ = ["QUANTITIES", "Better", "Quantity", "definitions_of", "key_of", "quantity_of", "shown"]

# By the last part of a name in metrics.jsonl or eval.json; "of MEASURE" where the word alone means something else there.
QUANTITIES: dict[str, Quantity] = {
    "psnr": Quantity(
        "PSNR",
        "dB",
        "Peak signal-to-noise ratio 10 log10(range^2 / mean squared error) of each sample, mean over samples; the range is that of the data.",
        "higher",
    ),
    "ssim": Quantity(
        "SSIM",
        "",
        "Structural similarity of images under a Gaussian window of 11 by 11 pixels, mean over places and samples; 1 for equal images.",
        "higher",
        "Wang, Bovik, Sheikh & Simoncelli, IEEE TIP 2004",
    ),
    "explained_variance": Quantity(
        "explained variance",
        "share",
        "1 - sum |x - y|^2 / sum |x - mean(x)|^2 over samples x and outputs y in data space: 1 is perfect, 0 as good as the mean.",
        "higher",
    ),
    "feature_explained_variance": Quantity(
        "explained variance per feature",
        "share",
        "Explained variance of each feature by itself, mean over features that vary; features of large variance count like all others.",
        "higher",
    ),
    "explained_variance_rest": Quantity(
        "explained variance without large features",
        "share",
        "Explained variance of all features but those that hold more than ten times the mean share of the variance.",
        "higher",
    ),
    "large_share": Quantity(
        "variance in large features",
        "share",
        "Share of the variance in features that hold more than ten times the mean share each.",
    ),
    "large_features": Quantity(
        "large features", "", "Features that hold more than ten times the mean share of the variance."
    ),
    "mse": Quantity("mean squared error", "", "Mean over samples and features of (x - y)^2 in data space.", "lower"),
    "normalised_mse": Quantity(
        "normalised squared error",
        "share",
        "sum |x - y|^2 / sum |x - mean(x)|^2, also called the fraction of variance unexplained: 1 - explained variance.",
        "lower",
    ),
    "wape": Quantity("weighted absolute error", "share", "sum |x - y| / sum |x| in data space.", "lower"),
    "objective": Quantity(
        "objective",
        "",
        "What inference minimises for a sample, mean over samples; another row names the function. Comparable between models with the same function and data.",
        "lower",
    ),
    "objective_of": Quantity("objective is", "", "The function whose mean over samples is the objective."),
    "l0": Quantity(
        "L0",
        "codes per sample",
        "Mean number of codes per sample whose magnitude is above theta, that is: active codes.",
    ),
    "theta": Quantity("theta", "", "A code counts as active above this magnitude."),
    "active_fraction": Quantity("active codes", "share", "L0 divided by the number of codes."),
    "silent": Quantity("samples without an active code", "share", "Share of the samples on which no code is active."),
    "dead": Quantity("dead codes", "codes", "Codes that are active on none of the samples measured.", "lower"),
    "dense": Quantity(
        "dense codes", "codes", "Codes that are active on more than a tenth of the samples.", "", "Sun et al., 2025"
    ),
    "always_on": Quantity("always on", "codes", "Codes that are active on every sample."),
    "n_code": Quantity("codes", "codes", "Number of codes of the model."),
    "n": Quantity("samples", "samples", "Number of samples measured."),
    "data_range": Quantity("range of the data", "", "Largest less smallest value of the data, to which PSNR refers."),
    "gap_mean": Quantity(
        "duality gap, mean",
        "relative",
        "A bound on how far the objective of solved codes is from its minimum, relative to the objective of z = 0; mean over samples.",
        "lower",
    ),
    "gap_max": Quantity(
        "duality gap, largest",
        "relative",
        "The largest duality gap of a sample: a certificate that every code is solved to this precision.",
        "lower",
    ),
    "hoyer": Quantity(
        "Hoyer sparsity",
        "0 to 1",
        "(sqrt(k) - |z|_1 / |z|_2) / (sqrt(k) - 1) of k codes, mean over samples: 1 for one active code, 0 for equal ones.",
        "",
        "Hoyer, JMLR 2004",
    ),
    "population_sparsity": Quantity(
        "population sparsity",
        "0 to 1",
        "Treves-Rolls sparsity of a sample's codes, mean over samples: 1 for one active code, 0 for equal ones.",
        "",
        "Treves & Rolls, Network 1991",
    ),
    "lifetime_sparsity": Quantity(
        "lifetime sparsity",
        "0 to 1",
        "Treves-Rolls sparsity of a code over samples, mean over codes: 1 for a code active on one sample.",
        "",
        "Vinje & Gallant, Science 2000",
    ),
    "accuracy": Quantity(
        "accuracy", "share", "Share of the samples whose true class has the largest logit.", "higher"
    ),
    "class_accuracy": Quantity("accuracy on a class", "share", "Accuracy on the samples of one class.", "higher"),
    "elbo": Quantity(
        "ELBO",
        "nats per sample",
        "Evidence lower bound -(recon + divergences), unweighted, by one draw of the codes per sample. With hard gates it bounds log p(x); with relaxed gates it does not.",
        "higher",
        "Kingma & Welling, ICLR 2014",
    ),
    "recon": Quantity(
        "reconstruction", "nats per sample", "-log p(x | z) of one draw of z per sample, mean.", "lower"
    ),
    "kl_slab": Quantity(
        "divergence of slabs", "nats per sample", "KL divergence of the codes' values from the prior, sum over codes."
    ),
    "kl_spike": Quantity(
        "divergence of spikes", "nats per sample", "KL divergence of the codes' gates from the prior, sum over codes."
    ),
    "kl_choice": Quantity(
        "divergence of the choice", "nats per sample", "KL divergence of the choice of a prior component."
    ),
    "active": Quantity("open gates", "codes per sample", "Mean number of codes whose gate is above 1/2."),
    "expected": Quantity("expected open gates", "codes per sample", "Mean sum of the gates' probabilities."),
    "active_units": Quantity(
        "active units",
        "codes",
        "Codes whose posterior mean has a variance above 0.01 over samples.",
        "",
        "Burda, Grosse & Salakhutdinov, ICLR 2016",
    ),
    "selection": Quantity(
        "variance of gates", "", "Variance of a gate over samples, mean over codes: 0 where the data do not choose."
    ),
    "usage": Quantity("use of a gate", "share", "Share of the samples on which a code's gate is above 1/2."),
    "hard_gap": Quantity(
        "relaxed less hard ELBO",
        "nats per sample",
        "ELBO of relaxed gates less that of hard ones: what leaks through gates that are nearly shut.",
        "lower",
    ),
    "gates": Quantity("sum of gates", "codes per sample", "Mean sum over codes of the gates' probabilities."),
    "corrupted_psnr": Quantity("PSNR of corrupted samples", "dB", "PSNR of samples corrupted as in training."),
    "corrupted_mse": Quantity("squared error of corrupted samples", "", "Mean squared error of corrupted samples."),
    "hidden_mse": Quantity(
        "squared error where covered", "", "Mean squared error of features that the corruption covered.", "lower"
    ),
    "visible_mse": Quantity(
        "squared error elsewhere", "", "Mean squared error of features that were not covered.", "lower"
    ),
    "noisy_psnr": Quantity("PSNR of noisy samples", "dB", "PSNR of samples with Gaussian noise of this level."),
    "margin of denoising": Quantity(
        "gain of PSNR", "dB", "PSNR after denoising less that of the noisy sample.", "higher"
    ),
    "sigma": Quantity("sigma", "", "Standard deviation of the noise."),
    "unit of denoising": Quantity("unit of sigma", "", "range: the range of the data; input: model space, what the encoder is given."),
    "noise_weight": Quantity(
        "noise weight", "", "The penalty weight that solves for codes of noisy samples, by standard deviation of the noise; 0: that of training."
    ),
    "mean_activation": Quantity("mean activation", "", "Mean over samples of a code's value, mean over codes."),
    "least_activation": Quantity("least mean activation", "", "The smallest mean activation of a code."),
    "greatest_activation": Quantity("greatest mean activation", "", "The largest mean activation of a code."),
    "rho": Quantity("target activation", "", "The mean activation that the KL term asks for."),
    "kl": Quantity(
        "divergence of mean activations",
        "nats",
        "Sum over codes of KL(target | mean activation).",
        "lower",
        "Ng, CS294A lecture notes, 2011",
    ),
    "kl_share": Quantity("KL term", "share of the loss", "The KL term's share of error and KL term together."),
    "error_per_feature": Quantity(
        "squared error per feature", "", "Squared error in model space by the number of features.", "lower"
    ),
    "norm_share": Quantity("norm at the site", "share", "Mean over atoms of the share of an atom's norms at this site."),
    "alone": Quantity("atoms of this site alone", "codes", "Atoms that have more than 90 % of their norms at this site."),
    "fidelity": Quantity("error", "", "Error of the output in model space, mean over the batch: squared error or cross-entropy.", "lower"),
    "loss": Quantity("loss", "", "The training objective of a batch, mean over its samples.", "lower"),
    "converged": Quantity("converged", "share", "Share of the batch whose codes were solved to the tolerance.", "higher"),
    "solver_steps": Quantity("solver steps", "steps", "Steps of the solver for a batch.", "lower"),
    "density": Quantity("density", "share of samples", "Share of the samples on which the code is active (above theta)."),
    "mean_active": Quantity("mean activation", "", "Mean magnitude of the code on the samples on which it is active."),
    "max_active": Quantity("largest activation", "", "Largest magnitude of the code on the samples."),
    "norm": Quantity(
        "norm of the atom",
        "",
        "Euclidean norm in data space of what one unit of the code adds to the output: where atoms have norm 1 in model space and all features one scale, "
        "that scale. It is the same for a copy of the model in another format, which has the scale in its weights.",
    ),
    "coherence": Quantity(
        "coherence", "0 to 1", "Largest |cosine| in model space of the code's atom to any other atom; near 1: another code says the same."
    ),
    "importance": Quantity(
        "importance", "", "How much worse the output becomes without the code; beside the most important code stands what was computed.", ""
    ),
    "purity": Quantity(
        "label purity", "share", "Share of the most frequent label among the samples on which the code is active."
    ),
    "stability": Quantity(
        "stability", "0 to 1", "Mean over the other runs of the cosine of the code's atom to its one-to-one match there."
    ),
    "gate": Quantity("mean gate", "probability", "Mean over samples of the gate's probability."),
    "jaccard": Quantity("joint firing", "0 to 1", "Jaccard index: samples on which both codes are active by those on which either is."),
    "mcc": Quantity("mean matched cosine", "0 to 1", "Mean cosine of atoms matched one to one by the assignment of largest total."),
    "cross_entropy of loss_recovered": Quantity("cross-entropy", "nats per token", "Mean cross-entropy of the next token.", "lower"),
    "kl of loss_recovered": Quantity(
        "divergence of predictions", "nats per token", "Mean KL divergence of the predictions from those of the unchanged host.", "lower"
    ),
    "recovered": Quantity(
        "loss recovered", "share", "(zero - spliced) / (zero - clean) in cross-entropy: 1 for a perfect reconstruction.", "higher"
    ),
    "from_mean": Quantity(
        "loss recovered from the mean", "share", "The same with the mean row in the place of zeros.", "higher"
    ),
    "kl_recovered": Quantity("divergence recovered", "share", "1 - KL(spliced) / KL(zero).", "higher"),
    "auxk": Quantity(
        "auxiliary loss of dead codes",
        "",
        "What the term for dead codes (auxk) adds to the loss; 0 where no code is dead.",
        "lower",
        "Gao et al., 2024",
    ),
    "amortise": Quantity(
        "error of the encoder", "", "Squared distance of the encoder's codes from the solved ones, sum over codes, mean over the batch.", "lower"
    ),
    "slope": Quantity("slope of the gates", "", "Factor on what is put into the sigmoid of a gate: the larger, the harder the gate."),
    "slab_weight": Quantity("weight of the slabs", "", "Factor of the divergence of slabs in the loss."),
    "spike_weight": Quantity("weight of the spikes", "", "Factor of the divergence of spikes in the loss."),
} | UNIT_QUANTITIES | AMORTISATION_QUANTITIES | COMPARISON_QUANTITIES  # fmt: skip


def quantity_of(name: str, measure: str = "") -> Quantity:
    """The quantity of this name, of a measure where the word alone would be another; an unknown one by its name alone.

    Names may be paths, as "levels[0].psnr" or "clean.cross_entropy", and end in an index or a number, as "class_3" or "psnr_0.5".
    """
    last = re.split(r"\.(?=\D)", name.rpartition("/")[2])[-1]
    for candidate in (f"{last} of {measure}", last):
        if candidate in QUANTITIES:
            return QUANTITIES[candidate]
    stem, _, index = last.partition("[")
    if index and stem in QUANTITIES:
        known = QUANTITIES[stem]
        return known._replace(label=f"{known.label} {index.rstrip(']')}")
    stem, _, number = last.rpartition("_")
    stem = "class_accuracy" if stem == "class" else stem
    if stem in QUANTITIES and number.replace(".", "", 1).replace("e-", "", 1).isdigit():
        known = QUANTITIES[stem]
        return known._replace(label=f"{known.label} {number}")
    return Quantity(last.replace("_", " "))


def definitions_of() -> dict[str, Definition]:
    """All definitions, by key."""
    return {key: Definition(known.label, known.text, known.source) for key, known in QUANTITIES.items() if known.text}


def key_of(known: Quantity) -> str:
    """The key of a quantity's definition; "" if it has none."""
    return _KEYS.get(known.text, "") if known.text else ""


_KEYS = {known.text: key for key, known in QUANTITIES.items()}


def shown(value: float | None, unit: str = "") -> str:
    """A number as text with its unit, three or four digits; a dash where it is not defined."""
    if value is None or math.isnan(value):
        return "-"
    if unit == "dB":
        return f"{value:.2f} dB"
    if unit in ("share", "probability"):
        return f"{value:.4f}"
    digits = f"{value:.2g}" if unit == "relative" else f"{value:.4g}"
    words = {"codes per sample": "", "relative": "", "0 to 1": "", "codes": "", "samples": ""}.get(unit, unit)
    return f"{digits} {words}".strip()
