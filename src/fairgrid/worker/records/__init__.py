"""What a worker keeps on disk: tables, who writes them and when, backup."""
