"""What is done for a task on this computer: inputs, cache, transfers, jobs, runs, results."""
