"""The controller's metrics in Prometheus' text format."""

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from softdpu.controller.requests import Family

KINDS = {"counter": CounterMetricFamily, "gauge": GaugeMetricFamily}


class _Families(Collector):
    """What Prometheus' library asks for the metrics of one scrape."""

    def __init__(self, families: Sequence[Family]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        for family in self.families:
            metric = KINDS[family.kind](family.name, family.help, labels=family.labels)
            for sample in family.samples:
                metric.add_metric(sample.labels, sample.value)
            yield metric


def exposition(families: Sequence[Family]) -> tuple[bytes, str]:
    """The text of one scrape, and its media type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Families(families))
    return generate_latest(registry), CONTENT_TYPE_LATEST
