"""The level ``vm``: virtual images under QEMU."""
