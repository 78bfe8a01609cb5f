"""The final model classes, one per way to infer a code."""
