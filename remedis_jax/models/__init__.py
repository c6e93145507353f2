"""BiT ResNet-v2, projection and classification heads."""
