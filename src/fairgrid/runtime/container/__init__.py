"""The level ``container``: OCI images by digest, run by podman or docker."""
