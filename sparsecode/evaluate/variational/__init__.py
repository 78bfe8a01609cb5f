"""Bounds on log p(x), gates, factors and traversals of models with a posterior."""
