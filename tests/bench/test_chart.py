"""The chart is an image with a bar a row."""

from xml.etree import ElementTree

from tools.bench.chart import OURS, SHORT, draw
from tools.bench.rows import LATENCY, SMALL

SVG = "{http://www.w3.org/2000/svg}"


def bars(*results: tuple[float, float]) -> list[ElementTree.Element]:
    """Of throughput and latency."""
    pairs = zip((SMALL, LATENCY), results, strict=True)
    picture = draw([row.comparison("<split>", (peer,), (ours,)) for row, (peer, ours) in pairs])
    return ElementTree.fromstring(picture).findall(f"{SVG}rect")


def test_a_row_short_of_what_it_must_reach_has_another_colour() -> None:
    assert [bar.get("fill") for bar in bars((10, 20), (1.0, 2.0))] == [OURS, SHORT]


def test_longer_is_better_also_where_less_is() -> None:
    throughput, latency = (float(bar.get("width", 0)) for bar in bars((10, 20), (2.0, 1.0)))
    assert throughput == latency
