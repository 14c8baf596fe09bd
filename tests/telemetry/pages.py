"""A page of metrics as numbers: asked from a server, parsed by Prometheus's own parser, added up by labels."""

from collections.abc import Iterator

import httpx2
from prometheus_client.parser import text_string_to_metric_families

Labels = dict[str, str]


class Page:
    """Samples by name, as `..._total`, `..._count`, `..._bucket` and so on."""

    def __init__(self, text: str):
        self.text = text
        self.samples: dict[str, list[tuple[Labels, float]]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self.samples.setdefault(sample.name, []).append((dict(sample.labels), sample.value))

    def found(self, name: str, **labels: str) -> Iterator[float]:
        """The values of a sample whose labels include these."""
        for known, value in self.samples.get(name, []):
            if labels.items() <= known.items():
                yield value

    def sum(self, name: str, **labels: str) -> float:
        """What they add up to; 0 where there are none."""
        return sum(self.found(name, **labels))

    def values(self, name: str, label: str) -> set[str]:
        """Every value a label has."""
        return {known[label] for known, _ in self.samples.get(name, [])}


async def scraped(client: httpx2.AsyncClient) -> Page:
    response = await client.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Page(response.text)
