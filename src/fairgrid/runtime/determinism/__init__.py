"""Is a program deterministic? It is run several times while the host changes, and results are compared byte by byte."""
