// The list of episodes and its filters.

const form = $("filters");
const FIELDS = ["text", "run", "family", "outcome", "invalid", "phase", "index", "prompt", "task", "group"];
let listed = [];
let order = { name: "#", down: false };
let search = 0;

function fillFilters() {
  const prompts = [...new Set(index.episodes.map((row) => row.prompt))].sort((a, b) => a - b);
  const options = {
    run: [...new Set(index.episodes.map((row) => row.run))].map((value) => [value, index.runs[value].name]),
    family: [...new Set(index.episodes.map((row) => row.family))].sort().map((value) => [value, value]),
    phase: [...new Set(index.episodes.map((row) => row.phase))].map((value) => [value, value]),
    prompt: prompts.map((value) => [value, `${value + 1}: ${short(index.prompts[value], 40)}`]),
    index: [...new Set(index.episodes.map((row) => row.index))].sort((a, b) => a - b).map((value) => [value, value]),
  };
  for (const [name, values] of Object.entries(options)) {
    form.elements[name].append(...values.map(([value, label]) => el("option", { value }, shown(label))));
    form.querySelector(`[data-field="${name}"]`).hidden = values.length < 2;
  }
}

const isOutcome = {
  success: (row) => row.stop !== "error" && row.success === true,
  failure: (row) => row.stop !== "error" && row.success === false,
  none: (row) => row.stop !== "error" && row.success === undefined,
  error: (row) => row.stop === "error",
};

function matches(row, wanted) {
  return (!wanted.run || row.run === Number(wanted.run))
    && (!wanted.family || row.family === wanted.family)
    && (!wanted.outcome || isOutcome[wanted.outcome](row))
    && (!wanted.invalid || (wanted.invalid === "some") === row.invalid > 0)
    && (!wanted.phase || row.phase === wanted.phase)
    && (!wanted.index || row.index === Number(wanted.index))
    && (!wanted.prompt || row.prompt === Number(wanted.prompt))
    && (!wanted.task || row.task.toLowerCase().includes(wanted.task.toLowerCase()));
}

const wantedNow = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value.trim()]));
const inRow = (row, text) => `${row.task}\n${row.family}\n${row.stop}\n${row.detail ?? ""}\n${row.note ?? ""}`.toLowerCase().includes(text);
const textOf = (step) => [step.text, step.goal, step.feedback, step.thought, step.action, step.command, step.completion?.text];

function inEpisode(episode, text) {
  return [...episode.steps, episode.final ?? {}].some((step) => textOf(step).some((part) => part && part.toLowerCase().includes(text)));
}

/** Filter the list; a text is looked for in the whole episodes too, chunk by chunk. */
async function filter() {
  const mine = ++search;
  const wanted = wantedNow();
  const candidates = index.episodes.map((row, position) => position).filter((position) => matches(index.episodes[position], wanted));
  const text = wanted.text.toLowerCase();
  if (!text) return showList(candidates);
  const found = new Set(candidates.filter((position) => inRow(index.episodes[position], text)));
  const places = [...new Set(candidates.map((position) => index.episodes[position].chunk))];
  for (const [done, place] of places.entries()) {
    const episodes = await chunk(place);
    if (mine !== search) return undefined;
    for (const position of candidates) {
      const row = index.episodes[position];
      if (row.chunk === place && !found.has(position) && inEpisode(episodes[row.at], text)) found.add(position);
    }
    $("found").textContent = `Looking through the texts: ${done + 1} of ${places.length}`;
  }
  return showList(candidates.filter((position) => found.has(position)));
}

// The columns: name, class, value to sort by and to export, and the cell's text if that is not the value.
const COLUMNS = [
  { name: "#", value: (row, position) => position + 1 },
  { name: "outcome", value: (row) => outcome(row)[1], cell: (row) => outcome(row)[1], cls: (row) => outcome(row)[0] },
  { name: "score", head: "n", value: (row) => row.score, cell: (row) => number(row.score) },
  { name: "steps", head: "n", value: (row) => row.steps },
  { name: "invalid", head: "n", value: (row) => row.invalid, cell: (row) => (row.invalid ? `\u2298 ${row.invalid}` : "0"), cls: (row) => (row.invalid ? "no" : "off") },
  { name: "tokens", head: "n slim", value: (row) => row.tokens, cell: (row) => (row.tokens === undefined ? "\u2013" : row.tokens.toLocaleString("en")) },
  { name: "task", head: "task", value: (row) => row.task },
  { name: "family", head: "slim", value: (row) => row.family },
  { name: "run", head: "slim wide", value: (row) => index.runs[row.run].name },
  { name: "played for", head: "slim", value: (row) => playedFor(row) + seedOf(row) },
  { name: "ended by", head: "slim wide", value: (row) => (row.detail ? `${row.stop}: ${row.detail}` : row.stop) },
  { name: "note", head: "slim wide", value: (row) => row.note ?? "" },
];

function columnsOf(positions) {
  const rows = positions.map((position) => index.episodes[position]);
  const empty = { run: new Set(rows.map((row) => row.run)).size < 2, note: rows.every((row) => !row.note), tokens: rows.every((row) => row.tokens === undefined) };
  return COLUMNS.filter((column) => !empty[column.name]);
}

function sorted(positions) {
  const column = COLUMNS.find((one) => one.name === order.name) ?? COLUMNS[0];
  const value = (position) => column.value(index.episodes[position], position);
  const before = (a, b) => (typeof a === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));
  return [...positions].sort((a, b) => {
    const [left, right] = [value(a), value(b)];
    if (left === undefined || right === undefined) return (left === undefined) - (right === undefined);  // unknown is last
    return (order.down ? -1 : 1) * before(left, right) || a - b;
  });
}

function sortBy(name) {
  order = { name, down: order.name === name && !order.down };
  history.replaceState(null, "", listHash());
  showList(listed);
}

function head(columns) {
  return el("thead", {}, el("tr", {}, columns.map(({ name, head: cls }) => {
    const is = order.name === name;
    return el("th", { scope: "col", class: cls, "aria-sort": is ? (order.down ? "descending" : "ascending") : null },
      el("button", { type: "button", class: "sort", onclick: () => sortBy(name) }, name, is ? (order.down ? " \u2193" : " \u2191") : ""));
  })));
}

function listRow(position, columns) {
  const row = index.episodes[position];
  const go = `#/episode/${position + 1}`;
  return el("tr", { "data-go": go }, columns.map((column) => {
    const text = column.cell ? column.cell(row) : shown(short(String(column.value(row, position))));
    const inside = column.name === "#" ? el("a", { href: go }, text) : column.name === "task" ? el("bdi", {}, text) : text;
    return el("td", { class: [column.head, column.cls?.(row)].filter(Boolean).join(" ") || null, title: column.name === "task" ? text : null }, inside);
  }));
}

/** The rows, below a line for each family or arm with its mean score if they are grouped. */
function listRows(positions, columns) {
  const by = form.elements.group.value;
  if (!by) return [el("tbody", {}, positions.map((position) => listRow(position, columns)))];
  const groups = Map.groupBy(positions, (position) => (by === "run" ? index.runs[index.episodes[position].run].name : index.episodes[position].family));
  return [...groups].map(([name, members]) => {
    const scores = members.map((position) => index.episodes[position].score).filter((score) => score !== undefined);
    const mean = scores.length ? scores.reduce((sum, score) => sum + score, 0) / scores.length : undefined;
    const line = `${members.length.toLocaleString("en")} episodes \u00b7 mean score ${number(mean)}`;
    return el("tbody", {}, el("tr", { class: "grouped" }, el("th", { scope: "rowgroup", colspan: columns.length }, el("bdi", {}, short(name)), el("span", { class: "soft" }, ` \u00b7 ${line}`))),
      members.map((position) => listRow(position, columns)));
  });
}

function showList(positions) {
  listed = sorted(positions);
  const scripted = listed.some((position) => index.episodes[position].scripted);
  $("found").replaceChildren(`${listed.length.toLocaleString("en")} of ${index.episodes.length.toLocaleString("en")} episodes `, stamp(scripted) ?? "");
  $("csv").disabled = !listed.length;
  const columns = columnsOf(listed);
  const rows = listRows(listed, columns);
  listed = rows.flatMap((body) => [...body.querySelectorAll("[data-go]")].map((row) => Number(row.dataset.go.slice(10)) - 1));
  $("list").replaceChildren(head(columns), ...rows);
}

/** A field of a CSV file. A text that a spreadsheet would run as a formula gets an apostrophe before it. */
function csvField(value) {
  const text = typeof value === "string" && /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function csv() {
  const words = { ok: "success", no: "failure" };
  const fields = [...COLUMNS.map(({ name, value }) => [name, value]), ["prompt", (row) => row.prompt + 1], ["number in the log", (row) => row.log]];
  fields[1][1] = (row) => words[outcome(row)[0]] ?? outcome(row)[1].slice(2);
  const lines = listed.map((position) => fields.map(([, value]) => csvField(value(index.episodes[position], position))));
  return [fields.map(([name]) => name), ...lines].map((line) => `${line.join(",")}\r\n`).join("");
}

$("csv").addEventListener("click", () => {
  const url = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
  el("a", { href: url, download: "episodes.csv" }).click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
});

let keyed = 0;
form.addEventListener("input", () => {
  clearTimeout(keyed);
  keyed = setTimeout(() => { history.replaceState(null, "", listHash()); filter(); }, form.elements.text.value ? 120 : 0);
});
form.addEventListener("reset", () => setTimeout(() => { history.replaceState(null, "", "#/episodes"); filter(); }));
form.addEventListener("submit", (event) => event.preventDefault());

function listHash() {
  const sort = order.name === "#" && !order.down ? [] : [["sort", (order.down ? "-" : "") + order.name]];
  const query = new URLSearchParams([...Object.entries(wantedNow()).filter(([, value]) => value), ...sort]).toString();
  return query ? `#/episodes?${query}` : "#/episodes";
}

function setFilters(query) {
  for (const name of FIELDS) form.elements[name].value = query.get(name) ?? "";
  const sort = query.get("sort") ?? "#";
  order = { name: sort.replace(/^-/, ""), down: sort.startsWith("-") };
  form.querySelector("[data-field='task']").hidden = !query.get("task");
}
