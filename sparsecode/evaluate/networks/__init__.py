"""Classifiers: adversarial robustness and forgetting."""
