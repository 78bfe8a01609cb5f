"""Classifiers on features, with few labels."""
