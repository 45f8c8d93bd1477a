"""Tests of `fairgrid.runtime`."""
