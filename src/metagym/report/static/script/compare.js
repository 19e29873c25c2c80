// The same task, side by side.

/** Other episodes on the same task, those under another prompt first. */
function partners(position) {
  const row = index.episodes[position];
  const same = index.episodes.map((_, other) => other).filter((other) => other !== position && index.episodes[other].task === row.task && index.runs[index.episodes[other].run].env === index.runs[row.run].env);
  const rank = (other) => (index.episodes[other].prompt === row.prompt ? 2 : 0) + (index.episodes[other].score === row.score ? 1 : 0);
  return same.sort((a, b) => rank(a) - rank(b) || a - b);
}

const nameOf = (position) => {
  const row = index.episodes[position];
  return shown(`${index.runs[row.run].name} \u00b7 ${playedFor(row)}${seedOf(row)} \u00b7 ${outcome(row)[1]} (#${position + 1})`);
};

function firstPair() {
  const seenTasks = new Map();
  let fallback = null;
  for (const [position, row] of index.episodes.entries()) {
    const name = `${index.runs[row.run].env}\n${row.task}`;
    const before = seenTasks.get(name) ?? [];
    for (const other of before) {
      const mine = index.episodes[other];
      if (mine.prompt !== row.prompt && mine.score !== row.score) return [other, position];
      if (mine.prompt !== row.prompt) fallback ??= [other, position];
    }
    if (before.length < 30) seenTasks.set(name, [...before, position]);
  }
  return fallback;
}

async function showPair(left, right, at) {
  const pair = await Promise.all([load(left), load(right)]);
  const places = Math.max(...pair.map(numPlaces));
  at = Math.max(0, Math.min(at, places - 1));
  const to = (a, b, step) => { location.hash = `#/compare/${a + 1}/${b + 1}/step/${step + 1}`; };
  const tasks = new Map();
  for (const [position, row] of index.episodes.entries()) {
    const key = `${index.runs[row.run].env}\n${row.task}`;
    tasks.set(key, [...(tasks.get(key) ?? []), position]);
  }
  const shared = [...tasks].filter(([, positions]) => positions.length > 1);
  const own = `${pair[0].run.env}\n${pair[0].row.task}`;
  const choose = (label, chosen, set) => el("label", {}, label,
    el("select", { onchange: (event) => set(Number(event.target.value)) }, (tasks.get(own) ?? []).map((position) => el("option", { value: position, selected: position === chosen }, nameOf(position)))));
  const task = el("select", { onchange: (event) => { const found = tasks.get(event.target.value); to(found[0], partners(found[0])[0] ?? found[1], 0); } },
    shared.map(([key, positions]) => el("option", { value: key, selected: key === own }, shown(`${index.episodes[positions[0]].task} (${positions.length} episodes)`))));
  $("compare").replaceChildren(
    el("h1", {}, "The same task, side by side ", stamp(pair.some((episode) => episode.row.scripted)) ?? ""),
    el("div", { class: "pick filters" }, el("label", {}, "Task", task),
      choose("Left", left, (position) => to(position, right, at)), choose("Right", right, (position) => to(left, position, at))),
    pair[0].row.task === pair[1].row.task ? "" : el("p", { class: "notice" }, "These two episodes played different tasks."),
    el("div", { class: "tools" },
      el("button", { type: "button", disabled: at <= 0, "aria-label": "Step before", onclick: () => to(left, right, at - 1) }, "\u2190"),
      el("span", { class: "soft" }, `Step ${at + 1} of ${places - 1} and the end`),
      el("button", { type: "button", disabled: at >= places - 1, "aria-label": "Next step", onclick: () => to(left, right, at + 1) }, "\u2192")),
    el("div", { class: "stage both", "data-step": at + 1 }, pair.map((episode) => {
      const place = Math.min(at, episode.steps.length);
      const [cls, word] = outcome(episode.row);
      return el("div", { class: "pane" },
        el("h2", {}, el("a", { href: `#/episode/${episode.position + 1}/step/${place + 1}` }, nameOf(episode.position))),
        el("p", { class: "facts" }, el("b", { class: cls }, word), el("span", {}, `score ${number(episode.row.score)}`), el("span", {}, `${episode.row.steps} steps`), episode.row.invalid ? el("span", { class: "no" }, `\u2298 ${episode.row.invalid} invalid`) : null),
        promptChange(pair, episode),
        strip(episode, place, (step) => to(left, right, step)),
        stepPanes(episode, place, boundsOf(episode)));
    })),
  );
}

/** The prompt of one of a pair; if they differ, the lines that the other one lacks are marked. */
function promptChange(pair, episode) {
  const other = pair[0] === episode ? pair[1] : pair[0];
  if (other.prompt === episode.prompt) return details("The prompt (the same on both sides)", () => textBlock(episode.prompt));
  const theirs = new Set(other.prompt.split("\n"));
  return details("The prompt (lines that the other side lacks are marked)", () => {
    const node = el("div", { class: "text", dir: "auto" });
    const lines = episode.prompt.split("\n");
    for (const [place, text] of lines.entries()) {
      node.append(place ? "\n" : "", theirs.has(text) ? fill(el("span"), text) : fill(el("ins"), text));
    }
    return node;
  });
}

async function compare(parts) {
  const [left, right] = parts.map((part) => Number(part) - 1);
  const known = (position) => Number.isInteger(position) && position >= 0 && position < index.episodes.length;
  const step = parts[2] === "step" ? Number(parts[3]) - 1 || 0 : 0;
  if (known(left) && known(right)) return showPair(left, right, step);
  const pair = firstPair();
  if (pair) return showPair(pair[0], pair[1], 0);
  $("compare").replaceChildren(el("h1", {}, "Side by side"), el("p", { class: "basis" }, "No task in this file was played under two prompts, so there is nothing to put side by side."));
  return undefined;
}
