"""Apps as their developers have them: a project from a template, its build, its listing on a network."""

from __future__ import annotations
