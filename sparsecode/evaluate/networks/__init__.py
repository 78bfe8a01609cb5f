"""Networks that classify: attacks, and what is forgotten."""
