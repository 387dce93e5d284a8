"""OpenTelemetry traces, only where a collector is configured."""

from fastapi import FastAPI


def instrument(service: str, endpoint: str | None, app: FastAPI | None = None) -> None:
    """Sends spans of requests and statements to the collector at `endpoint` (OTLP over HTTP). None: does nothing.

    The libraries are loaded only then: they cost start-up time that most deployments need not pay.
    """
    if endpoint is None:
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": f"parley-{service}"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)
    AsyncPGInstrumentor().instrument()  # type: ignore[no-untyped-call]
    if app is not None:
        FastAPIInstrumentor.instrument_app(app)
