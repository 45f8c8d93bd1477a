"""Cgroups of both versions: limits and meters of all processes of one job together."""
