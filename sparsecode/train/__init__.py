"""Training: the loop, optimisers, observers, checkpoints. The only room that knows Lightning Fabric."""
