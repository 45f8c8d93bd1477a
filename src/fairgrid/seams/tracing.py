"""OpenTelemetry traces from the client's call to the receipt on chain; nothing at all while nobody asked for them.

All that happens to a deal is one trace, whoever tells it: its id follows from the deal's, and so do the ids of the
spans that others hang theirs under. So client, pool and workers join one trace without a word between them, and
foreign clients and workers see no change. HTTP requests carry ``traceparent`` beside that.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from fairgrid.errors import UsageError

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Link, SpanContext, Tracer

__all__ = [
    "DEAL",
    "Place",
    "Span",
    "active",
    "call",
    "carry",
    "context_of",
    "lease_place",
    "record",
    "served",
    "span",
    "span_id_of",
    "start_tracing",
    "stop_tracing",
    "task_place",
    "trace_id_of",
]

_VARIABLES: Final = ("FAIRGRID_OTLP", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_EXPORT_WITHIN_S: Final = 3.0


@dataclass(frozen=True, slots=True)
class Place:
    """A span whose id follows from what it is about; ``kind`` tells those of one id apart."""

    kind: str
    id: str


DEAL: Final = Place("deal", "")
"""The first span of a deal's trace."""


def task_place(task_id: str) -> Place:
    """The span of a task, or of a run."""
    return Place("task", task_id)


def lease_place(lease_id: str) -> Place:
    """The span of one worker's part in it."""
    return Place("lease", lease_id)


def trace_id_of(deal_id: str) -> int:
    """The trace of a deal."""
    return int.from_bytes(hashlib.sha256(f"fairgrid/trace/1 {deal_id.lower()}".encode()).digest()[:16], "big")


def span_id_of(deal_id: str, place: Place) -> int:
    """The span of something in a deal's trace."""
    text = f"fairgrid/span/1 {deal_id.lower()} {place.kind} {place.id.lower()}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


class Span:
    """What is told of a span while it lasts. Does nothing while tracing is off."""

    __slots__ = ("_span",)

    def __init__(self, told: Any = None) -> None:
        self._span = told

    def set(self, **attributes: str | int | float | bool) -> None:
        """Add attributes; each is named ``fairgrid.NAME``."""
        if self._span is not None:
            for name, value in attributes.items():
                self._span.set_attribute(f"fairgrid.{name}", value)

    def transaction(self, tx_hash: str) -> None:
        """Say that a transaction carried it out."""
        if self._span is not None and tx_hash:
            self._span.set_attribute("fairgrid.tx", tx_hash)
            self._span.add_link(_of_transaction(tx_hash), {"fairgrid.tx": tx_hash})


_OFF: Final = Span()
_forced: ContextVar[tuple[int, int] | None] = ContextVar("forced_ids", default=None)
_tracer: Tracer | None = None
_provider: Any = None


def active() -> bool:
    """True while spans are told to anybody."""
    return _tracer is not None


def start_tracing(service: str, *, exporter: Any = None) -> bool:
    """Tell spans of ``service`` to the collector that the environment names; False (and nothing) if it names none.

    ``FAIRGRID_OTLP`` is a collector's address, e.g. ``http://127.0.0.1:4318``; the standard ``OTEL_*`` variables do as
    well. ``exporter`` is used instead, at once for each span (for tests).

    Raises:
        UsageError: the extra ``telemetry`` is not installed, or the address is none.
    """
    global _tracer, _provider
    collector = next((os.environ[name] for name in _VARIABLES if os.environ.get(name)), "")
    if exporter is None and (not collector or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"):
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

        from fairgrid import __version__
        from fairgrid.seams.trace_ids import DerivedIds
    except ImportError as error:
        raise UsageError(
            f"Traces are asked for ({_named()}), but OpenTelemetry is not installed: pip install 'fairgrid[telemetry]'"
        ) from error
    if exporter is None:
        own = os.environ.get("FAIRGRID_OTLP", "")
        if own and not own.startswith(("http://", "https://")):
            raise UsageError(f"FAIRGRID_OTLP is {own!r}; give the address of a collector, as http://127.0.0.1:4318.")
        # What is None is taken from the standard variables. A collector that is away must not hold up a command's end.
        told = OTLPSpanExporter(
            endpoint=own.rstrip("/") + "/v1/traces" if own else None,
            timeout=None if os.environ.get("OTEL_EXPORTER_OTLP_TIMEOUT") else _EXPORT_WITHIN_S,
        )
        processor: Any = BatchSpanProcessor(told, schedule_delay_millis=1_000)
    else:
        processor = SimpleSpanProcessor(exporter)
    resource = Resource.create({"service.name": f"fairgrid-{service}", "service.version": __version__})
    _provider = TracerProvider(resource=resource, id_generator=DerivedIds(_forced))
    _provider.add_span_processor(processor)
    _tracer = _provider.get_tracer("fairgrid", __version__)
    return True


def stop_tracing() -> None:
    """Tell what is not told yet, and tell no more."""
    global _tracer, _provider
    if _provider is not None:
        _provider.shutdown()
    _tracer = _provider = None


# --- within a deal's trace ----------------------------------------------------------------------------------------


@contextmanager
def span(name: str, deal_id: str, under: Place = DEAL, **attributes: str | int | float | bool) -> Iterator[Span]:
    """A span of what the block does, in a deal's trace; an exception that leaves the block is told, too."""
    if _tracer is None:
        yield _OFF
        return
    with _tracer.start_as_current_span(
        name, context=_within(deal_id, under), attributes=_named_attributes(deal_id, attributes)
    ) as told:
        yield Span(told)


def record(
    name: str,
    deal_id: str,
    began: float,
    ended: float,
    *,
    under: Place | None = DEAL,
    place: Place | None = None,
    tx_hash: str = "",
    linked: Sequence[SpanContext] = (),
    **attributes: str | int | float | bool,
) -> None:
    """Tell a span afterwards; times in seconds since the epoch.

    ``under`` None: it is the trace's first. ``place`` fixes its own id, so that others can hang theirs under it.
    """
    if _tracer is None:
        return
    from opentelemetry.context import Context
    from opentelemetry.trace import Link

    links: list[Link] = [Link(context) for context in linked]
    if tx_hash:
        links.append(Link(_of_transaction(tx_hash), {"fairgrid.tx": tx_hash}))
        attributes["tx"] = tx_hash
    token = _forced.set((trace_id_of(deal_id), span_id_of(deal_id, place)) if place is not None else None)
    try:
        told = _tracer.start_span(
            name,
            context=Context() if under is None else _within(deal_id, under),
            attributes=_named_attributes(deal_id, attributes),
            links=links,
            start_time=_nanoseconds(began),
        )
    finally:
        _forced.reset(token)
    told.end(end_time=_nanoseconds(max(ended, began)))


# --- around it ----------------------------------------------------------------------------------------------------


@contextmanager
def call(name: str) -> Iterator[Span]:
    """A span of a caller's own trace, before there is a deal; `context_of` it is what a link from the deal needs."""
    if _tracer is None:
        yield _OFF
        return
    with _tracer.start_as_current_span(name) as told:
        yield Span(told)


def context_of(told: Span) -> tuple[SpanContext, ...]:
    """What a link to a span needs; empty while tracing is off."""
    return (told._span.get_span_context(),) if told._span is not None else ()


def carry(headers: MutableMapping[str, str]) -> None:
    """Add ``traceparent`` to a request's headers, if there is a span now."""
    if _tracer is None:
        return
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    TraceContextTextMapPropagator().inject(headers)


@contextmanager
def served(method: str, headers: Mapping[bytes, bytes]) -> Iterator[Span]:
    """A span of a request that somebody else's trace caused; none for a request without ``traceparent``."""
    parent = headers.get(b"traceparent")
    if _tracer is None or parent is None:
        yield _OFF
        return
    from opentelemetry.trace import SpanKind
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    context = TraceContextTextMapPropagator().extract({"traceparent": parent.decode("latin-1")})
    with _tracer.start_as_current_span(method, context=context, kind=SpanKind.SERVER) as told:
        yield Span(told)


# --- within -------------------------------------------------------------------------------------------------------


def _within(deal_id: str, under: Place) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace import NonRecordingSpan, set_span_in_context

    parent = _context(trace_id_of(deal_id), span_id_of(deal_id, under))
    return set_span_in_context(NonRecordingSpan(parent), Context())


def _of_transaction(tx_hash: str) -> SpanContext:
    """All that one transaction carries out is linked to the same place, also across deals."""
    digest = hashlib.sha256(f"fairgrid/transaction/1 {tx_hash.lower()}".encode()).digest()
    return _context(int.from_bytes(digest[:16], "big"), int.from_bytes(digest[16:24], "big"))


def _context(trace_id: int, span_id: int) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags

    return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))


def _named_attributes(deal_id: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    return {"fairgrid.deal": deal_id} | {f"fairgrid.{name}": value for name, value in attributes.items()}


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)


def _named() -> str:
    return ", ".join(name for name in _VARIABLES if os.environ.get(name))
