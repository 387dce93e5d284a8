"""OpenTelemetry traces, only where a collector is configured."""

import re

# Longer than any id: whoever knows it may use it.
_TOKEN = re.compile(r"/[\w-]{40,}")


def instrument(service: str, endpoint: str | None) -> None:
    """Sends spans of requests and statements to the collector at `endpoint` (OTLP over HTTP). None: does nothing.

    The libraries are loaded only then: they cost start-up time that most deployments need not pay. The spans of
    requests are the framework's own.
    """
    if endpoint is None:
        return
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.instrumentation.asyncpg import AsyncPGInstrumentor
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    class WithoutSecrets(SpanProcessor):
        """A query or a path may hold what only its two ends may know, as the code of a sign-in elsewhere."""

        def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002  -- given by name
            given = span.attributes or {}
            if "url.query" in given:
                span.set_attribute("url.query", "REDACTED")
            if "url.path" in given:
                span.set_attribute("url.path", _TOKEN.sub("/REDACTED", str(given["url.path"])))

    provider = TracerProvider(resource=Resource.create({"service.name": f"parley-{service}"}))
    provider.add_span_processor(WithoutSecrets())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")))
    trace.set_tracer_provider(provider)
    AsyncPGInstrumentor().instrument()  # type: ignore[no-untyped-call]
