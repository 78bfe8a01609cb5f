"""Single units: activity, the error that noise adds, and receptive fields."""
