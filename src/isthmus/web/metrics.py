"""What the server counts, in the form that Prometheus reads."""

import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]

BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """Requests by route and status, the time they take, and what was encoded. Of this worker process alone."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "isthmus_requests", "Requests answered.", ["route", "method", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "isthmus_request_seconds", "Time of a request.", ["route"], buckets=BUCKETS, registry=self.registry
        )
        self.inside = Gauge("isthmus_requests_in_work", "Requests in work.", registry=self.registry)
        self.items = Gauge("isthmus_items", "Items of an index.", ["collection", "modality"], registry=self.registry)
        self.encoded = Gauge("isthmus_encoded_items", "Items encoded.", registry=self.registry)
        self.batches = Gauge("isthmus_encoded_batches", "Batches encoded.", registry=self.registry)

    @contextmanager
    def timed(self, scope: MutableMapping[str, Any]) -> Iterator[list[int]]:
        """Time a request; the status is put into the list that this gives."""
        start, status = time.perf_counter(), list[int]()
        self.inside.inc()
        try:
            yield status
        finally:
            self.inside.dec()
            # the route, not the path, which anybody can make up
            route = getattr(scope.get("route"), "path", "none")
            self.requests.labels(route, scope["method"], str(status[0] if status else 0)).inc()
            self.seconds.labels(route).observe(time.perf_counter() - start)

    def text(self) -> bytes:
        """Return everything in the text form of Prometheus."""
        return generate_latest(self.registry)
