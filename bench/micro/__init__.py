"""What single functions of the hot path cost: `make micro` prints instructions beside those that were kept."""
