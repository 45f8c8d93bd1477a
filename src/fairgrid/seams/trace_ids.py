"""Ids of traces and spans that may be given instead of drawn.

It needs OpenTelemetry's SDK, so `fairgrid.seams.tracing` imports it only when traces are asked for.
"""

from __future__ import annotations

from contextvars import ContextVar

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

__all__ = ["DerivedIds"]


class DerivedIds(RandomIdGenerator):
    """Gives the ids that ``forced`` holds (trace, span), else random ones."""

    def __init__(self, forced: ContextVar[tuple[int, int] | None]) -> None:
        self._forced = forced

    def generate_trace_id(self) -> int:
        forced = self._forced.get()
        return super().generate_trace_id() if forced is None else forced[0]

    def generate_span_id(self) -> int:
        forced = self._forced.get()
        return super().generate_span_id() if forced is None else forced[1]
