// summary CSV: count, mean, median and extremes of every numeric column, as JSON.
import * as std from "qjs:std";

const [, path] = scriptArgs;
const text = path === undefined ? null : std.loadFile(path);
if (text === null) {
  std.err.puts("usage: summary CSV\n");
  std.exit(2);
}

const [header, ...rows] = text.trim().split("\n").map((line) => line.split(","));
const summary = {};
for (const [column, name] of header.entries()) {
  const values = rows.map((row) => Number(row[column])).filter(Number.isFinite).sort((a, b) => a - b);
  if (values.length < rows.length / 2) continue;
  const middle = values.length >> 1;
  summary[name.trim()] = {
    count: values.length,
    mean: values.reduce((sum, value) => sum + value, 0) / values.length,
    median: values.length % 2 ? values[middle] : (values[middle - 1] + values[middle]) / 2,
    least: values[0],
    most: values[values.length - 1],
  };
}

const file = std.open("summary.json", "w");
file.puts(JSON.stringify(summary, null, 1) + "\n");
file.close();
console.log(Object.keys(summary).join(" "));
