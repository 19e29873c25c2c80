// Words on an episode.

function outcome(row) {
  if (row.stop === "error") return ["off", "! infrastructure error"];
  if (row.success === true) return ["ok", "\u2713 success"];
  if (row.success === false) return ["no", "\u2717 failure"];
  return ["off", "\u2013 no verdict"];
}

function playedFor(row) {
  const single = index.runs[row.run].kind === "meta-episode";
  if (row.phase === "learning") return `${single ? "" : "learning, "}meta-step ${row.index}`;
  if (row.phase === "replay") return `replay of meta-step ${row.index}`;
  if (row.phase === "stream test") return `test after block ${row.index}`;
  return `${row.phase}, prompt ${row.index}`;
}

const seedOf = (row) => (row.replicate === undefined ? "" : `, seed ${row.replicate}`);
