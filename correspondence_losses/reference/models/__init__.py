"""What is trained: backbones with their weights, and one model for each family, which computes its own loss."""
