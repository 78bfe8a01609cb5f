"""Scores of trained models and codes. Nothing here trains a sparse model."""
