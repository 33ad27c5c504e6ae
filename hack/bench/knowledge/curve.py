# ruff: noqa: INP001 (a script, not a package)
"""Draws the latency curve as SVG: chunks and milliseconds, both on logarithmic axes."""

import math
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 110, 24, 48
COLOURS = {"dense": "#1f6f8b", "sparse": "#b5651d", "hybrid": "#4b3f72"}


def draw_curve(rows: Sequence[dict[str, Any]], *, modes: Sequence[str]) -> str:
    """Return the picture: p50 as a line, p95 dashed. Readable on a light and on a dark page."""
    values = [row[mode][name] for row in rows for mode in modes for name in ("p50", "p95")]
    low, high = 10 ** math.floor(math.log10(min(values))), 10 ** math.ceil(math.log10(max(values)))
    first, last = rows[0]["chunks"], rows[-1]["chunks"]

    def x(chunks: float) -> float:
        span = math.log(last / first) or 1.0
        return LEFT + (WIDTH - LEFT - RIGHT) * math.log(chunks / first) / span

    def y(ms: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * math.log(ms / low) / math.log(high / low)

    box = f'viewBox="0 0 {WIDTH} {HEIGHT}" role="img" font-family="sans-serif" font-size="12"'
    title = "<title>Search latency by number of chunks</title>"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {box}>{title}<rect width="100%" height="100%" fill="#fff"/>']
    tick = low
    while tick <= high:
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick:,.0f} ms</text>')
        tick *= 10
    for row in rows:
        place = x(row["chunks"])
        parts.append(f'<text x="{place:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{row["chunks"]:,}</text>')
    parts.append(f'<text x="{(WIDTH - RIGHT + LEFT) / 2:.0f}" y="{HEIGHT - 8}" text-anchor="middle">chunks</text>')
    ends = sorted((y(rows[-1][mode]["p50"]), mode) for mode in modes)
    label = -math.inf
    for end, mode in ends:
        for name, dash in (("p50", ""), ("p95", ' stroke-dasharray="5 4" opacity="0.6"')):
            points = " ".join(f"{x(row['chunks']):.1f},{y(row[mode][name]):.1f}" for row in rows)
            line = f'fill="none" stroke="{COLOURS[mode]}" stroke-width="2"'
            parts.append(f'<polyline points="{points}" {line}{dash}/>')
        label = max(end + 4, label + 14)
        parts.append(f'<text x="{WIDTH - RIGHT + 8}" y="{label:.1f}" fill="{COLOURS[mode]}">{mode}</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 8}" fill="#555">p50, dashed p95; embedding the query not included</text>')
    return "\n".join([*parts, "</svg>", ""])
