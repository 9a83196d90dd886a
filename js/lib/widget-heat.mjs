// A sweep's cells as tables, and their colours; no elements here.

// Stops of a map whose lightness rises evenly, from dark blue over green to yellow, as in the picture of a heat map.
const STOPS = [[68, 1, 84], [65, 68, 135], [42, 120, 142], [34, 168, 132], [122, 209, 81], [253, 231, 37]];

/** Red, green, blue for a share from 0 to 1. */
export function colourOf(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((value, i) => Math.round(value + (STOPS[low + 1][i] - value) * (place - low)));
}

/** Black or white, whichever is easier to read on the colour (WCAG 2 luminance). */
export function inkOn(colour) {
  const [r, g, b] = colour.map((value) => value / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#000" : "#fff";
}

const restKey = (cell) => cell.at.slice(2).join();

/** The combinations of the axes beyond two: their names, and the number of the one that holds the winner. */
export function restOf(data) {
  const keys = [...new Set(data.cells.map(restKey))].sort((a, b) => a.localeCompare(b, undefined, { numeric: true }));
  const names = keys.map((key) => (key === "" ? [] : key.split(",")).map((index, i) => `${data.axes[i + 2].name} ${data.axes[i + 2].values[index]}`).join(", "));
  const best = data.cells.find((cell) => cell.winner) ?? data.cells[0];
  return { keys, names, best: best ? keys.indexOf(restKey(best)) : 0 };
}

/** Rows of cells (null where there is none) for one combination, and the lowest and highest value of the measure. */
export function tableOf(data, measure, rest) {
  const key = restOf(data).keys[rest];
  const known = new Map(data.cells.filter((cell) => restKey(cell) === key).map((cell) => [cell.at.slice(0, 2).join(), cell]));
  const across = data.axes[1]?.values ?? [null];
  const rows = data.axes[0].values.map((_, r) => across.map((value, c) => known.get(value === null ? String(r) : `${r},${c}`) ?? null));
  const values = data.cells.map((cell) => cell[measure]).filter((value) => value !== null);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  return { rows, span: high - low > 1e-9 ? [low, high] : [low - 0.5, high + 0.5] };
}
