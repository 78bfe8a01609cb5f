"""Leaves with weights, each under its Spec: normalisers, encoders, decoders, constraints."""
