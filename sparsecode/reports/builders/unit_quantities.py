"""Labels, units and definitions of the activity of units in networks trained with input noise."""

from __future__ import annotations

from sparsecode.reports.builders.quantity import Quantity

__all__ = ["UNIT_QUANTITIES"]

UNIT_QUANTITIES: dict[str, Quantity] = {
    "active_noisy": Quantity("active units, noise on", "share", "Mean share of units active with the noise of training."),
    "active_clean": Quantity("active units, noise off", "share", "Mean share of units active without noise."),
    "dead_noisy": Quantity("dead units, noise on", "units", "Units active on no sample with the noise of training."),
    "dead_clean": Quantity("dead units, noise off", "units", "Units active on no sample without noise."),
    "dead_share_noisy": Quantity("dead units, noise on", "share", "Share of units active on no sample with noise."),
    "dead_share_clean": Quantity("dead units, noise off", "share", "Share of units active on no sample without noise."),
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
    "population_noisy": Quantity(
        "population sparsity, noise on", "0 to 1", "Treves-Rolls sparsity of a sample's activations, mean over samples; 1 for one active unit, with the noise of training.", "", "Treves & Rolls, Network 1991"
    ),
    "population_clean": Quantity(
        "population sparsity, noise off", "0 to 1", "Treves-Rolls sparsity of a sample's activations, mean over samples; 1 for one active unit, without noise.", "", "Treves & Rolls, Network 1991"
    ),
    "lifetime_noisy": Quantity(
        "lifetime sparsity, noise on", "0 to 1", "Treves-Rolls sparsity of a unit over samples, mean over units; 1 for a unit active on one sample, with the noise of training.", "", "Vinje & Gallant, Science 2000"
    ),
    "lifetime_clean": Quantity(
        "lifetime sparsity, noise off", "0 to 1", "Treves-Rolls sparsity of a unit over samples, mean over units; 1 for a unit active on one sample, without noise.", "", "Vinje & Gallant, Science 2000"
    ),
    "hoyer_noisy": Quantity(
        "Hoyer sparsity, noise on", "0 to 1", "Hoyer's sparsity of a sample's activations, mean over samples; 1 for one active unit, with the noise of training.", "", "Hoyer, JMLR 2004"
    ),
    "hoyer_clean": Quantity(
        "Hoyer sparsity, noise off", "0 to 1", "Hoyer's sparsity of a sample's activations, mean over samples; 1 for one active unit, without noise.", "", "Hoyer, JMLR 2004"
    ),
    "entropy_noisy": Quantity(
        "entropy of use, noise on", "0 to 1", "Entropy of the units' shares in all activity counts, by log of the number of units; 1 if all are active equally often, with the noise of training."
    ),
    "entropy_clean": Quantity(
        "entropy of use, noise off", "0 to 1", "Entropy of the units' shares in all activity counts, by log of the number of units; 1 if all are active equally often, without noise."
    ),
    "active_before_noisy": Quantity(
        "active units before inhibition, noise on", "share", "Mean share of units whose rectified pre-activation is active, before units compete, with the noise of training."
    ),
    "active_before_clean": Quantity(
        "active units before inhibition, noise off", "share", "Mean share of units whose rectified pre-activation is active, before units compete, without noise."
    ),
    "dead_share_before_noisy": Quantity(
        "dead units before inhibition, noise on", "share", "Share of units whose rectified pre-activation is active on no sample, with the noise of training."
    ),
    "dead_share_before_clean": Quantity(
        "dead units before inhibition, noise off", "share", "Share of units whose rectified pre-activation is active on no sample, without noise."
    ),
}  # fmt: skip
