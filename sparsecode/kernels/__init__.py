"""Compiled versions of a few operations, each tested against its eager counterpart. Imported only when used."""
