"""What a pool shows of itself: metrics, traces, the dashboard."""
