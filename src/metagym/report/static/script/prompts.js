// The history of the prompts: the changes of each reflection, beside the score that it moved.

function change(kind, text) {
  if (kind === "+") return fill(el("ins"), text);
  if (kind === "-") return fill(el("del"), text);
  if (text.length <= 420) return pour(el("span"), text);
  const head = text.slice(0, 160);
  const tail = text.slice(-160);
  const gap = el("span", { class: "gap" }, ` [\u2026 ${(text.length - 320).toLocaleString("en")} characters as before \u2026] `);
  return el("span", {}, pour(el("span"), head), gap, pour(el("span"), tail));
}

function move(row, before) {
  if (before === undefined || row.score === null || row.score === undefined || before.score === null || before.score === undefined) return null;
  const by = row.score - before.score;
  if (Math.abs(by) < 1e-9) return el("span", { class: "move soft" }, "= unchanged");
  return el("span", { class: `move ${by > 0 ? "up" : "down"}` }, `${by > 0 ? "\u25b2" : "\u25bc"} ${number(by, 2, true)}`);
}

/** A link to all episodes that a run played under a prompt; null if this file holds no such episode. */
function episodesOf(run, prompt) {
  const place = index.prompts.indexOf(prompt);
  const number_ = index.episodes.filter((row) => row.run === run && row.prompt === place).length;
  return number_ ? el("a", { href: `#/episodes?run=${run}&prompt=${place}` }, number_ === 1 ? "Its episode" : `All ${number_} episodes`) : null;
}

function version(row, position, rows, single, run) {
  const isSame = row.changes && row.changes.every(([kind]) => kind === "=");
  const body = el("div");
  const draw = (whole) => body.replaceChildren(
    !row.changes || whole ? textBlock(row.prompt, { cut: 1800 })
      : isSame ? el("p", { class: "soft" }, "The prompt was kept as it was.")
        : el("div", { class: "text changes", dir: "auto" }, row.changes.map(([kind, text]) => change(kind, text))),
  );
  let whole = false;
  draw(whole);
  const button = row.changes && !isSame ? el("button", { type: "button", class: "quiet", onclick: (event) => { whole = !whole; event.target.textContent = whole ? "Show what changed" : "Show the whole prompt"; draw(whole); } }, "Show the whole prompt") : null;
  return el("li", { class: isSame ? "version same" : "version" },
    el("div", { class: "mark-column" },
      el("span", { class: "name" }, row.played === false ? "last prompt" : single ? `meta-step ${position}` : `prompt ${position}`), " ",
      el("div", { class: "score" }, number(row.score)), move(row, rows[position - 1]),
      row.played === false ? el("span", { class: "small" }, "not played") : null,
      row.online === undefined || row.online === null ? null : el("span", { class: "small" }, `online ${number(row.online)}`),
      row.parts ? el("span", { class: "small" }, `changed: ${row.parts.join(", ")}`) : null,
      row.chosen ? el("span", { class: "chip mark" }, "chosen") : null,
      row.failed ? el("span", { class: "small no" }, `! ${row.failed} failed`) : null),
    el("div", {}, row.problem ? el("p", { class: "result flag" }, "\u2298 The reply could not be used, and the old prompt was kept: ", line(row.problem)) : null,
      body, el("div", { class: "links" }, button, episodesOf(run, row.prompt),
        row.analysis ? details("Why: the reflector's analysis", () => textBlock(row.analysis)) : null,
        row.completion ? details("The reflector's raw reply", () => textBlock(row.completion)) : null)));
}

async function showPrompts() {
  const places = [...document.querySelectorAll(".prompts")];
  if (!places.length) return;
  const histories = await unpack("prompts");
  for (const place of places) {
    const own = histories.filter((history_) => history_.run >= Number(place.dataset.from) && history_.run < Number(place.dataset.to));
    if (!own.length) { place.replaceChildren(el("p", { class: "note" }, "No prompt was played yet.")); continue; }
    const list = el("ol", { class: "versions" });
    const show = (history_) => list.replaceChildren(...history_.rows.map((row, position) => version(row, position, history_.rows, history_.seed === null, history_.run)));
    const run = (number_) => index.runs[number_];
    const label = (history_) => shown([run(history_.run).name, history_.family, history_.seed === null ? "" : `seed ${history_.seed}`].filter(Boolean).join(" \u00b7 "));
    const select = el("select", { onchange: (event) => show(own[Number(event.target.value)]) }, own.map((history_, number_) => el("option", { value: number_ }, label(history_))));
    place.replaceChildren(own.length > 1 ? el("div", { class: "pick" }, el("label", {}, "Meta-episode", select)) : "", list);
    show(own[0]);
  }
}
