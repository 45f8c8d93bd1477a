"""What a worker shows of itself: counts and metrics."""
