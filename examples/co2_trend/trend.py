"""How fast did CO2 rise at Mauna Loa? Fits trend and seasons, bootstraps the uncertainty, forecasts ten years.

    fairgrid run trend.py --input co2.csv --arg 200

Nothing here knows of Fairgrid: it reads a file, uses only the standard library, and writes files.
Reads  $IEXEC_IN/co2.csv: date (YYYYMMDD), weekly mean in ppmv (blank when missing).
Writes $IEXEC_OUT/report.json, forecast.csv and plot.svg; prints a summary.
The one argument is the number of bootstrap resamples (default 200).
"""

from __future__ import annotations

import csv
import datetime
import json
import math
import os
import random
import sys
from pathlib import Path

YEAR_DAYS = 365.2425
ORIGIN = datetime.date(1980, 1, 1).toordinal()
BLOCK_WEEKS = 26


def read_series(path):
    """Years since 1980 and ppmv, without the missing weeks."""
    times, values = [], []
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            if not row["co2"]:
                continue
            text = row["date"]
            day = datetime.date(int(text[:4]), int(text[4:6]), int(text[6:8])).toordinal()
            times.append((day - ORIGIN) / YEAR_DAYS)
            values.append(float(row["co2"]))
    return times, values


def basis(t):
    """Level, slope, acceleration, and two harmonics of the year."""
    angle = 2 * math.pi * t
    return (1.0, t, t * t, math.cos(angle), math.sin(angle), math.cos(2 * angle), math.sin(2 * angle))


def solve(matrix, right):
    """Gaussian elimination with partial pivoting."""
    size = len(right)
    rows = [[*matrix[i], right[i]] for i in range(size)]
    for column in range(size):
        pivot = max(range(column, size), key=lambda r: abs(rows[r][column]))
        rows[column], rows[pivot] = rows[pivot], rows[column]
        for r in range(column + 1, size):
            factor = rows[r][column] / rows[column][column]
            for c in range(column, size + 1):
                rows[r][c] -= factor * rows[column][c]
    answer = [0.0] * size
    for r in range(size - 1, -1, -1):
        known = sum(rows[r][c] * answer[c] for c in range(r + 1, size))
        answer[r] = (rows[r][size] - known) / rows[r][r]
    return answer


def normal_matrix(design):
    """X'X, summed exactly so that the order of rows cannot matter."""
    size = len(design[0])
    return [[math.fsum(row[i] * row[j] for row in design) for j in range(size)] for i in range(size)]


def fit(design, matrix, values):
    size = len(matrix)
    right = [0.0] * size
    for row, value in zip(design, values):
        for i in range(size):
            right[i] += row[i] * value
    return solve(matrix, right)


def predict(coefficients, t):
    return sum(c * b for c, b in zip(coefficients, basis(t)))


def block_resample(residuals, generator):
    """Moving blocks keep the weather of neighbouring weeks together."""
    count = len(residuals)
    sample = []
    while len(sample) < count:
        start = generator.randrange(count - BLOCK_WEEKS)
        sample.extend(residuals[start : start + BLOCK_WEEKS])
    return sample[:count]


def interval(samples, coverage=0.95):
    ordered = sorted(samples)
    edge = (1 - coverage) / 2
    return [ordered[int(edge * (len(ordered) - 1))], ordered[math.ceil((1 - edge) * (len(ordered) - 1))]]


def plot(times, values, future, coefficients):
    """Measurements, fit and forecast as a small SVG."""
    width, height, margin = 760, 360, 46
    first, last = 1980 + times[0], 1980 + future[-1]
    low, high = 310.0, 10 * math.ceil(predict(coefficients, future[-1]) / 10 + 0.5)

    def x(t):
        return margin + (1980 + t - first) / (last - first) * (width - 2 * margin)

    def y(ppm):
        return height - margin - (ppm - low) / (high - low) * (height - 2 * margin)

    dots = "".join(f'<circle cx="{x(t):.1f}" cy="{y(v):.1f}" r="0.9"/>' for t, v in zip(times, values))
    line = " ".join(f"{x(t):.1f},{y(predict(coefficients, t)):.1f}" for t in [*times[::4], *future])
    grid = "".join(
        f'<line x1="{margin}" x2="{width - margin}" y1="{y(p):.1f}" y2="{y(p):.1f}"/>'
        f'<text x="{margin - 6}" y="{y(p) + 4:.1f}" text-anchor="end">{p}</text>'
        for p in range(320, int(high) + 1, 20)
    )
    years = "".join(
        f'<text x="{x(year - 1980):.1f}" y="{height - margin + 18}" text-anchor="middle">{year}</text>'
        for year in range(1960, int(last) + 1, 10)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="11">'
        f'<text x="{margin}" y="24" font-size="14">CO2 at Mauna Loa, ppmv: measured, fitted, forecast</text>'
        f'<g stroke="#ddd" fill="#555" stroke-width="1">{grid}</g><g fill="#555">{years}</g>'
        f'<g fill="#4a90d9" fill-opacity="0.6">{dots}</g>'
        f'<polyline points="{line}" fill="none" stroke="#d0492f" stroke-width="1"/></svg>\n'
    )


def main():
    resamples = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    if resamples < 20:
        sys.exit("At least 20 resamples are needed for an interval.")
    source = Path(os.environ["IEXEC_IN"]) / "co2.csv"
    target = Path(os.environ["IEXEC_OUT"])
    times, values = read_series(source)
    design = [basis(t) for t in times]
    matrix = normal_matrix(design)
    coefficients = fit(design, matrix, values)
    fitted = [sum(c * b for c, b in zip(coefficients, row)) for row in design]
    residuals = [v - f for v, f in zip(values, fitted)]
    future = [times[-1] + step / 12 for step in range(1, 121)]

    generator = random.Random()
    rises, ends = [], []
    for _ in range(resamples):
        noise = block_resample(residuals, generator)
        again = fit(design, matrix, [f + n for f, n in zip(fitted, noise)])
        rises.append(again[1] + 2 * again[2] * times[-1])
        ends.append(predict(again, future[-1]))

    report = {
        "weeks": len(values),
        "first_year": round(1980 + times[0], 3),
        "last_year": round(1980 + times[-1], 3),
        "rise_ppm_per_year_at_end": round(coefficients[1] + 2 * coefficients[2] * times[-1], 6),
        "rise_95_percent": [round(value, 6) for value in interval(rises)],
        "seasonal_swing_ppm": round(2 * math.hypot(coefficients[3], coefficients[4]), 6),
        "residual_sd_ppm": round(math.sqrt(math.fsum(r * r for r in residuals) / (len(residuals) - 7)), 6),
        "forecast_year": round(1980 + future[-1], 3),
        "forecast_ppm": round(predict(coefficients, future[-1]), 6),
        "forecast_95_percent": [round(value, 6) for value in interval(ends)],
        "resamples": resamples,
    }
    (target / "report.json").write_text(json.dumps(report, indent=2, sort_keys=True) + "\n")
    with open(target / "forecast.csv", "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["year", "ppmv"])
        writer.writerows([f"{1980 + t:.4f}", f"{predict(coefficients, t):.4f}"] for t in future)
    (target / "plot.svg").write_text(plot(times, values, future, coefficients))
    print(f"{report['weeks']} weeks of CO2 at Mauna Loa, {report['first_year']} to {report['last_year']}")
    print(f"rising by {report['rise_ppm_per_year_at_end']:.3f} ppm a year (95 %: {report['rise_95_percent']})")
    end, bounds = report["forecast_year"], report["forecast_95_percent"]
    print(f"{report['forecast_ppm']:.1f} ppm forecast for {end} (95 %: {bounds})")


if __name__ == "__main__":
    main()
