#!/usr/bin/env python3
"""Draws what `growth` measured, one SVG for each figure over each axis.

    tests/growth/plot.py docs/plots/growth.json docs/plots

Nothing but the standard library. The colours follow the reader's light or dark mode.
"""

import json
import math
import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 640, 360
LEFT, RIGHT, TOP, BOTTOM = 78, 24, 46, 54

STYLE = """
  text { font: 13px system-ui, sans-serif; }
  .back { fill: #ffffff; }
  text { fill: #24292f; }
  .title { font-size: 15px; font-weight: 600; }
  .note { fill: #57606a; font-size: 12px; }
  .grid { stroke: #d0d7de; stroke-width: 1; }
  .axis { stroke: #57606a; stroke-width: 1; }
  .line { fill: none; stroke: #0969da; stroke-width: 2; }
  .range { stroke: #0969da; stroke-width: 1.5; }
  .point { fill: #0969da; }
  .value { font-size: 12px; text-anchor: middle; }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117; }
    text { fill: #e6edf3; }
    .note { fill: #9198a1; }
    .grid { stroke: #30363d; }
    .axis { stroke: #9198a1; }
    .line, .range { stroke: #58a6ff; }
    .point { fill: #58a6ff; }
  }
"""

MIB = 1 << 20


def mean(values):
    return sum(values) / len(values)


def spread(point, name, scale=1.0):
    found = point[name]
    return tuple(found[part] * scale for part in ("median", "min", "max"))


def single(value):
    return (value, value, value)


# File name, title, unit of the vertical axis, logarithmic, and the value of a point: the middle, the least, the most.
FIGURES = [
    (
        "throughput",
        "Throughput, 64 clients with one transfer each",
        "transfers a second, smallest size = 1",
        False,
        lambda point: spread(point, "ratio"),
    ),
    (
        "memory",
        "Memory of a node after its start",
        "MiB resident",
        True,
        lambda point: (
            mean(point["memory_bytes"]) / MIB,
            min(point["memory_bytes"]) / MIB,
            max(point["memory_bytes"]) / MIB,
        ),
    ),
    (
        "start",
        "From the start of three nodes to the first committed transfer",
        "seconds",
        True,
        lambda point: spread(point, "start_s"),
    ),
    (
        "disk",
        "Disk of a node's folder, as it was made",
        "bytes on disk per byte of requests",
        True,
        lambda point: single(point["folder_bytes"] / max(point["request_bytes"], 1)),
    ),
    (
        "written",
        "Written by a node under load, to files and connections",
        "bytes per transfer",
        False,
        lambda point: single(point["written_per_transfer"]),
    ),
]

AXES = {"blocks": "blocks in the chain", "accounts": "accounts"}


def short(value):
    """A number with as many digits as say something."""
    if value >= 100:
        return f"{value:,.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}"


def power(exponent):
    digits = "".join("⁰¹²³⁴⁵⁶⁷⁸⁹"[int(digit)] for digit in str(abs(exponent)))
    return "10" + ("⁻" if exponent < 0 else "") + digits


def linear_ticks(most):
    """From 0 to at least `most`, in about five round steps."""
    if most <= 0:
        return [0.0, 1.0]
    step = 10 ** math.floor(math.log10(most / 5))
    for times in (1, 2, 5, 10):
        if most / (step * times) <= 6:
            step *= times
            break
    return [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]


class Scale:
    """Values to places on the picture."""

    def __init__(self, low, high, start, end, logarithmic):
        self.of = math.log10 if logarithmic else float
        self.low, self.high = self.of(low), self.of(high)
        self.start, self.end = start, end

    def __call__(self, value):
        part = (self.of(value) - self.low) / ((self.high - self.low) or 1.0)
        return self.start + part * (self.end - self.start)


def decades(values):
    """The powers of ten around these values, at least two."""
    low = math.floor(math.log10(min(values)) + 1e-9)
    high = math.ceil(math.log10(max(values)) - 1e-9)
    return low, max(high, low + 1)


def draw(title, axis, unit, logarithmic, sizes, values, note):
    """One picture, as text."""
    first, last = decades(sizes)
    across = Scale(10**first, 10**last, LEFT, WIDTH - RIGHT, True)
    everything = [number for value in values for number in value]
    if logarithmic:
        low, high = decades([max(number, 1e-6) for number in everything])
        ticks = [(10.0**exponent, power(exponent)) for exponent in range(low, high + 1)]
    else:
        steps = linear_ticks(max(everything) * 1.08)
        ticks = [(step, f"{step:g}") for step in steps]
    up = Scale(ticks[0][0], ticks[-1][0], HEIGHT - BOTTOM, TOP, logarithmic)
    middle = (LEFT + WIDTH - RIGHT) / 2
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{escape(title)}, over {escape(axis)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="back" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="20">{escape(title)}</text>',
        f'<text class="note" x="{LEFT}" y="36">{escape(note)}</text>',
    ]
    for value, label in ticks:
        y = up(value)
        out.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        out.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>')
    for exponent in range(first, last + 1):
        x = across(10**exponent)
        out.append(f'<line class="axis" x1="{x:.1f}" y1="{HEIGHT - BOTTOM}" x2="{x:.1f}" y2="{HEIGHT - BOTTOM + 5}"/>')
        out.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{power(exponent)}</text>')
    out.append(f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BOTTOM}"/>')
    out.append(f'<text x="{middle}" y="{HEIGHT - 12}" text-anchor="middle">{escape(axis)}</text>')
    half = (TOP + HEIGHT - BOTTOM) / 2
    out.append(f'<text x="18" y="{half}" text-anchor="middle" transform="rotate(-90 18 {half})">{escape(unit)}</text>')
    places = [(across(size), value) for size, value in zip(sizes, values)]
    path = " ".join(f"{x:.1f},{up(value[0]):.1f}" for x, value in places)
    out.append(f'<polyline class="line" points="{path}"/>')
    for x, (value, least, most) in places:
        y = up(value)
        if most > least:
            out.append(f'<line class="range" x1="{x:.1f}" y1="{up(least):.1f}" x2="{x:.1f}" y2="{up(most):.1f}"/>')
        out.append(f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="4"/>')
        # Inside the picture, and beside neither axis.
        label = min(max(x, LEFT + 20), WIDTH - RIGHT - 20)
        above = y - 10 if y - 22 > TOP else y + 20
        out.append(f'<text class="value" x="{label:.1f}" y="{above:.1f}">{short(value)}</text>')
    out.append("</svg>\n")
    return "\n".join(out)


def main(arguments):
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    source, folder = Path(arguments[0]), Path(arguments[1])
    report = json.loads(source.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    cores = report["conditions"]["cores"]
    for axis, label in AXES.items():
        points = report[axis]
        if not points:
            continue
        sizes = [point["size"] for point in points]
        for name, title, unit, logarithmic, of in FIGURES:
            values = [of(point) for point in points]
            note = f"three nodes and their clients on {cores} cores; bars from the least to the most"
            picture = draw(title, label, unit, logarithmic, sizes, values, note)
            (folder / f"growth-{axis}-{name}.svg").write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
