"""The network of a job that may have one: a proxy of the worker's, and nothing else that it could reach."""
