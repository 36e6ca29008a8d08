"""The comparison as an SVG: a bar a row, as a ratio to the peer, with marks at what it must and at what it should."""

from collections.abc import Sequence
from html import escape

from tools.bench.pairs import Comparison

WIDTH, LABEL, LINE, TOP = 1100, 610, 24, 44
LONGEST = 5.0  # a bar beyond it is cut: its figure stands behind it
OURS, SHORT, PEER = "#2a7f62", "#b5651d", "#999999"
_STYLE = "text{font:13px sans-serif;fill:#333}@media(prefers-color-scheme:dark){text{fill:#ddd}}"


def draw(results: Sequence[Comparison]) -> str:
    """The whole picture. Every bar is drawn so that longer is better."""
    height = TOP + LINE * len(results) + 10
    longest = max((_score(result, bound) for result in results for bound in (None, result.stretch)), default=1.0)
    scale = (WIDTH - LABEL - 70) / longest
    rows = [_row(result, TOP + LINE * place, scale) for place, result in enumerate(results)]
    peer = LABEL + scale
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>Ours beside the peers, as ratios</title>",
        f"<style>{_STYLE}</style>",
        f'<text x="{peer:.1f}" y="14" text-anchor="middle">the peer</text>',
        f'<line x1="{peer:.1f}" y1="20" x2="{peer:.1f}" y2="{height - 6}" stroke="{PEER}" stroke-dasharray="3 3"/>',
        '<text x="0" y="14">longer is better; | must, ¦ stretch</text>',
        *rows,
        "</svg>",
    ]
    return "\n".join(lines) + "\n"


def _score(result: Comparison, bound: float | None = None) -> float:
    value = result.ratio if bound is None else bound
    return min(LONGEST, value if result.better == "more" else 1 / value)


def _row(result: Comparison, y: int, scale: float) -> str:
    length = scale * _score(result)
    colour = OURS if result.reaches(result.must) else SHORT
    marks = "".join(
        f'<line x1="{x:.1f}" y1="{y - 2}" x2="{x:.1f}" y2="{y + 16}" stroke="#555" stroke-width="2"{dashes}/>'
        for x, dashes in (
            (LABEL + scale * _score(result, result.must), ""),
            (LABEL + scale * _score(result, result.stretch), ' stroke-dasharray="4 3"'),
        )
    )
    return (
        f'<text x="{LABEL - 8}" y="{y + 12}" text-anchor="end">{escape(result.what)}</text>'
        f'<rect x="{LABEL}" y="{y}" width="{length:.1f}" height="14" fill="{colour}"/>{marks}'
        f'<text x="{LABEL + max(length, scale * _score(result, result.stretch)) + 6:.1f}" y="{y + 12}">'
        f"{result.ratio:.2f} ×</text>"
    )
