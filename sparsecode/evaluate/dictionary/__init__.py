"""Dictionaries: geometry of atoms, recovery of known atoms, and stability across trainings."""
