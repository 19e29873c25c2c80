// NetHack's map, in its colours.

/** The known part of NetHack's map in a grid that keeps its place over the whole episode. */
function boundsOf(episode) {
  const displays = [...episode.steps, episode.final].filter((step) => isMap(step?.display)).map((step) => step.display).filter((display) => display.chars.length);
  if (!displays.length) return null;
  return {
    top: Math.min(...displays.map((display) => display.top)),
    left: Math.min(...displays.map((display) => display.left)),
    bottom: Math.max(...displays.map((display) => display.top + display.chars.length)),
    right: Math.max(...displays.map((display) => display.left + Math.max(...display.chars.map((line) => line.length)))),
  };
}

// A terminal is no larger; what says so of itself is no map, and would freeze the page.
const isPlace = (start, cells) => Number.isInteger(start) && start >= 0 && start + cells.length <= 500;

function isMap(display) {
  return Boolean(display) && Array.isArray(display.chars) && Array.isArray(display.colors) && display.chars.every((line) => typeof line === "string")
    && display.colors.every((line) => typeof line === "string") && isPlace(display.top, display.chars) && display.chars.every((line) => isPlace(display.left, line));
}

function drawMap(display, bounds) {
  const width = bounds.right - bounds.left;
  const node = el("pre", { class: width < 24 ? "map small" : width > 56 ? "map large" : "map", tabindex: "0", role: "img", "aria-label": "The map" });
  const [heroRow, heroColumn] = display.hero ?? [-1, -1];
  for (let row = bounds.top; row < bounds.bottom; row += 1) {
    const line = display.chars[row - display.top] ?? "";
    const colors = display.colors[row - display.top] ?? "";
    let run = "";
    let color = "";
    const flush = () => { if (run) node.append(color ? el("span", { class: `c${color}` }, shown(run)) : run); run = ""; };
    for (let column = bounds.left; column < bounds.right; column += 1) {
      const character = line[column - display.left] ?? " ";
      const own = character === " " ? color : (colors[column - display.left] ?? "7");
      const isHero = row === heroRow && column === heroColumn;
      if (own !== color || isHero) { flush(); color = /^[0-9a-f]$/.test(own) ? own : ""; }
      if (isHero) node.append(el("span", { class: `hero c${color || "f"}` }, shown(character)));
      else run += character;
    }
    flush();
    if (row < bounds.bottom - 1) node.append("\n");
  }
  return node;
}

/** The observation without the block of lines that the map above shows in colour. */
function withoutMap(text) {
  const found = /^Map \(rows (\d+)-(\d+), columns \d+-\d+\):\n/m.exec(text);
  if (!found) return text;
  const rest = text.slice(found.index + found[0].length).split("\n").slice(Number(found[2]) - Number(found[1]) + 1).join("\n");
  return (text.slice(0, found.index) + rest).trim();
}
