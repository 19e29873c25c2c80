// The list of episodes and its filters.

const form = $("filters");
const FIELDS = ["text", "run", "family", "outcome", "invalid", "phase", "index", "task"];
let listed = [];
let search = 0;

function fillFilters() {
  const options = {
    run: [...new Set(index.episodes.map((row) => row.run))].map((value) => [value, index.runs[value].name]),
    family: [...new Set(index.episodes.map((row) => row.family))].sort().map((value) => [value, value]),
    phase: [...new Set(index.episodes.map((row) => row.phase))].map((value) => [value, value]),
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
    && (!wanted.task || row.task.toLowerCase().includes(wanted.task.toLowerCase()));
}

const wantedNow = () => Object.fromEntries(FIELDS.map((name) => [name, form.elements[name].value.trim()]));
const inRow = (row, text) => `${row.task}\n${row.family}\n${row.stop}\n${row.detail ?? ""}`.toLowerCase().includes(text);
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
  if (!text) return showList(candidates, candidates.length);
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
  return showList(candidates.filter((position) => found.has(position)), candidates.length);
}

function showList(positions) {
  listed = positions;
  const many = new Set(positions.map((position) => index.episodes[position].run)).size > 1;
  const scripted = positions.some((position) => index.episodes[position].scripted);
  $("found").replaceChildren(`${positions.length.toLocaleString("en")} of ${index.episodes.length.toLocaleString("en")} episodes `, stamp(scripted) ?? "");
  const head = ["#", "outcome", ["n", "score"], ["n", "steps"], ["n", "invalid"], "task", ["slim", "family"], ...(many ? [["slim", "run"]] : []), ["slim", "played for"], ["slim", "ended by"]];
  const body = el("tbody");
  for (const position of positions) {
    const row = index.episodes[position];
    const [cls, word] = outcome(row);
    const go = `#/episode/${position + 1}`;
    body.append(el("tr", { "data-go": go },
      el("td", {}, el("a", { href: go }, String(position + 1))),
      el("td", { class: cls }, word),
      el("td", { class: "n" }, number(row.score)),
      el("td", { class: "n" }, String(row.steps)),
      el("td", { class: `n ${row.invalid ? "no" : "off"}` }, row.invalid ? `\u2298 ${row.invalid}` : "0"),
      el("td", { class: "task", title: short(row.task) }, el("bdi", {}, short(row.task))),
      el("td", { class: "slim" }, short(row.family)),
      many ? el("td", { class: "slim" }, shown(index.runs[row.run].name)) : null,
      el("td", { class: "slim" }, playedFor(row) + seedOf(row)),
      el("td", { class: "slim wide" }, shown(row.detail ? `${row.stop}: ${row.detail}` : row.stop)),
    ));
  }
  $("list").replaceChildren(
    el("thead", {}, el("tr", {}, head.map((name) => (Array.isArray(name) ? el("th", { scope: "col", class: name[0] }, name[1]) : el("th", { scope: "col" }, name))))),
    body,
  );
}

let keyed = 0;
form.addEventListener("input", () => {
  clearTimeout(keyed);
  keyed = setTimeout(() => { history.replaceState(null, "", listHash()); filter(); }, form.elements.text.value ? 120 : 0);
});
form.addEventListener("reset", () => setTimeout(() => { history.replaceState(null, "", "#/episodes"); filter(); }));
form.addEventListener("submit", (event) => event.preventDefault());

function listHash() {
  const query = new URLSearchParams(Object.entries(wantedNow()).filter(([, value]) => value)).toString();
  return query ? `#/episodes?${query}` : "#/episodes";
}

function setFilters(query) {
  for (const name of FIELDS) form.elements[name].value = query.get(name) ?? "";
  form.querySelector("[data-field='task']").hidden = !query.get("task");
}
