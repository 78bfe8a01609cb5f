"""Labels, units and definitions of the activity of units in networks trained with input noise."""

from __future__ import annotations

from sparsecode.reports.builders.quantity import Quantity

__all__ = ["UNIT_QUANTITIES"]


def _noise_on_and_off(key: str, label: str, unit: str, text: str, source: str = "") -> dict[str, Quantity]:
    """The two quantities of a measure of activity that is taken with the noise of training and without."""
    return {
        f"{key}_noisy": Quantity(f"{label}, noise on", unit, f"{text}, with the noise of training.", "", source),
        f"{key}_clean": Quantity(f"{label}, noise off", unit, f"{text}, without noise.", "", source),
    }


UNIT_QUANTITIES: dict[str, Quantity] = {
    **_noise_on_and_off("active", "active units", "share", "Mean share of units active"),
    **_noise_on_and_off("dead", "dead units", "units", "Units active on no sample"),
    **_noise_on_and_off("dead_share", "share of dead units", "share", "Share of units active on no sample"),
    "margin": Quantity(
        "margin", "deviations of noise", "Mean distance of pre-activations from the threshold, in standard deviations of their noise."
    ),
    "flips_noise": Quantity("signs changed by noise", "share", "Share of pre-activations whose sign the noise changes."),
    "key_value_cosine": Quantity("cosine of key and value", "", "Mean cosine of a unit's encoder and decoder weights."),
    "active_without_bias": Quantity("active units without bias", "share", "Mean share of pre-activations above 0 if the bias is left out, without noise."),
    "flips_bias_up": Quantity("made positive by the bias", "share", "Share of pre-activations that the bias makes positive, without noise."),
    "flips_bias_down": Quantity("made not positive by the bias", "share", "Share of pre-activations that are positive only without the bias, without noise."),
    "bias_mean": Quantity("mean bias", "", "Mean over units of the encoder's bias."),
    "bias_sd": Quantity("deviation of biases", "", "Standard deviation over units of the encoder's bias."),
    "negative_bias": Quantity("negative biases", "share", "Share of the units whose bias is below 0."),
    "norm_mean": Quantity("mean norm of keys", "", "Mean Euclidean norm of the units' encoder weights."),
    "norm_cv": Quantity("spread of norms of keys", "share of the mean", "Standard deviation by mean of the norms of the units' encoder weights."),
    "key_value_cosine_weighted": Quantity("cosine of key and value, weighted", "", "Cosine of encoder and decoder weights, mean over units weighted by how often they are active."),
    "nearest_target_recon": Quantity("own sample nearest, restored", "share", "Share of samples, restored from noise, whose nearest clean sample is their own.", "higher"),
    "nearest_target_noisy": Quantity("own sample nearest, noisy", "share", "Share of noisy samples whose nearest clean sample is their own."),
    **_noise_on_and_off("population", "population sparsity", "0 to 1", "Treves-Rolls sparsity of a sample's activations, mean over samples; 1 for one active unit", "Treves & Rolls, Network 1991"),
    **_noise_on_and_off("lifetime", "lifetime sparsity", "0 to 1", "Treves-Rolls sparsity of a unit over samples, mean over units; 1 for a unit active on one sample", "Vinje & Gallant, Science 2000"),
    **_noise_on_and_off("hoyer", "Hoyer sparsity", "0 to 1", "Hoyer's sparsity of a sample's activations, mean over samples; 1 for one active unit", "Hoyer, JMLR 2004"),
    **_noise_on_and_off("entropy", "entropy of use", "0 to 1", "Entropy of the units' shares in all activity counts, by log of the number of units; 1 if all are active equally often"),
    **_noise_on_and_off("active_before", "active units before inhibition", "share", "Mean share of units whose rectified pre-activation is active, before units compete"),
    **_noise_on_and_off("dead_share_before", "dead units before inhibition", "share", "Share of units whose rectified pre-activation is active on no sample"),
    "n_probe": Quantity("samples compared", "samples", "Number of samples spread over all, among which nearest samples are looked for."),
    "n_features of activity": Quantity("features", "features", "Number of features over which the terms of the error are summed."),
    "residual of activity": Quantity("error without noise", "", "The error that stays at noise 0, sum over features: the first of four terms of the error on noisy input."),
    "mean_shift of activity": Quantity("shift of the mean", "", "What the noise changes in the error by moving the mean of the reconstruction; below 0 where it helps."),
    "variance of activity": Quantity("variance of single units", "", "What the noise adds to the error by the variance of each unit."),
    "covariance of activity": Quantity("covariance of units", "", "What the noise adds to the error by units that vary together."),
    "total of activity": Quantity("error on noisy input", "", "The sum of the four terms: the mean squared error on noisy input, sum over features."),
    "bound of activity": Quantity("bound of the covariance", "", "The most by which the covariance term, a series that is cut, may be off."),
}  # fmt: skip
