"""The level ``process``: native programs in namespaces, behind a list of allowed system calls."""
