"""What a trust policy costs and guarantees: the pool's own policy classes on thousands of made-up tasks."""
