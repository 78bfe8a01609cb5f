"""Atoms: their geometry, whether known ones are found, and whether two trainings agree."""
