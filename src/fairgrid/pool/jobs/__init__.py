"""What deals ask for and what comes of it: manifests, dependencies, live output, uploaded results."""
