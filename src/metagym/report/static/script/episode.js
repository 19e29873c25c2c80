// One episode, step by step, or as a dialogue.

function seen(episode, step, bounds) {
  const hasMap = bounds && isMap(step.display);
  const place = step.display && !hasMap ? placeOf(step.display) : "";
  return [
    step.feedback ? el("p", { class: "result flag" }, "\u2298 Not executed: ", line(step.feedback)) : null,
    hasMap ? drawMap(step.display, bounds) : null,
    textBlock(hasMap ? withoutMap(step.text ?? "") : step.text ?? ""),
    hasMap ? details("The text as it was observed", () => textBlock(step.text ?? "", { cls: "text raw-text" })) : null,
    place ? el("p", { class: "note" }, place) : null,
  ];
}

function placeOf(display) {
  if (typeof display !== "object" || Array.isArray(display)) return "";
  return Object.entries(display).filter(([, value]) => typeof value === "string" && value).map(([key, value]) => `${short(key)}: ${short(value)}`).join(" \u00b7 ");
}

function actionList(episode, step) {
  const actions = actionsOf(episode, step);
  if (!actions) return null;
  return el("ul", { class: "actions" }, actions.map((action) => el("li", { class: action === step.command ? "taken" : "" }, short(action))));
}

/** The decision, the executed command, and its reward. */
function done(step) {
  const said = step.action ?? null;
  return [
    step.thought ? textBlock(step.thought, { cls: "text said" }) : null,
    el("p", { class: "decided" }, said === null ? el("span", { class: "flag" }, "\u2298 no action could be read") : line(said, "command"),
      el("span", { class: "reward" }, "reward ", el("b", { class: step.reward > 0 ? "ok" : step.reward < 0 ? "no" : "" }, number(step.reward, Number.isInteger(step.reward) ? 0 : 3, true))),
      step.completion?.usage ? el("span", { class: "reward" }, tokensOf(step.completion.usage)) : null,
      step.took ? el("span", { class: "reward" }, secondsOf(step.took.s)) : null),
    step.invalid ? el("p", { class: "result" }, el("span", { class: "flag" }, step.command === undefined ? "\u2298 Invalid, not executed: " : "\u2298 Invalid, executed all the same: "), line(step.problem ?? "it was not an available action.")) : null,
    step.command !== undefined && step.command !== said ? el("p", { class: "result" }, "Executed: ", line(step.command, "command")) : null,
    step.events ? el("p", { class: "result" }, "Done by the environment itself: ", line(step.events.join(", "))) : null,
  ];
}

const tokensOf = (usage) => `${(usage.prompt_tokens ?? 0).toLocaleString("en")} + ${(usage.completion_tokens ?? 0).toLocaleString("en")} tokens`;

const secondsOf = (seconds) => `${number(seconds, seconds < 10 ? 2 : 0)} s`;

function completionOf(step) {
  const completion = step.completion;
  if (!completion) return el("p", { class: "note" }, "No model was called for this step: a script or a function decided.");
  const usage = completion.usage ?? {};
  const facts = [`finish: ${completion.finish_reason ?? "stop"}`, completion.model, usage.prompt_tokens && `${usage.prompt_tokens} prompt tokens`, usage.completion_tokens && `${usage.completion_tokens} completion tokens`, usage.cached_tokens && `${usage.cached_tokens} of them cached`,
    step.took && `replied in ${secondsOf(step.took.s)}`, step.took?.waited >= 0.01 && `waited ${secondsOf(step.took.waited)} before`, step.took?.retries && `after ${step.took.retries} failed ${step.took.retries === 1 ? "try" : "tries"}`];
  return el("div", { class: "raw" },
    completion.reasoning ? el("div", { class: "message" }, el("b", {}, "reasoning"), textBlock(completion.reasoning)) : null,
    el("div", { class: "message" }, el("b", {}, short(facts.filter(Boolean).join(" \u00b7 "))), textBlock(completion.text ?? "")),
  );
}

function ending(episode) {
  const row = episode.row;
  const [cls, word] = outcome(row);
  return el("div", { class: "outcome" }, el("b", { class: cls }, word), ` \u00b7 score ${number(row.score)} \u00b7 stopped by: ${row.stop}`,
    episode.detail ? el("span", {}, " (", line(episode.detail), ")") : null,
    episode.error ? el("div", {}, textBlock(episode.error, { cls: "text flag" })) : null);
}

const numPlaces = (episode) => episode.steps.length + 1;

function strip(episode, at, go) {
  return el("div", { class: "strip", role: "group", "aria-label": "Steps" },
    episode.steps.map((step, position) => {
      const mark = step.invalid ? "\u2298" : step.reward > 0 ? "+" : step.reward < 0 ? "\u2212" : "";
      const label = `Step ${position + 1}${step.invalid ? ", invalid" : ""}${step.reward ? `, reward ${step.reward}` : ""}`;
      return el("button", { type: "button", class: step.invalid ? "bad" : step.reward > 0 ? "gain" : "", "aria-label": label, "aria-current": position === at ? "step" : null, onclick: () => go(position) }, `${position + 1}${mark}`);
    }),
    el("button", { type: "button", "aria-label": "End", "aria-current": at === episode.steps.length ? "step" : null, onclick: () => go(episode.steps.length) }, "end"));
}

/** One step of an episode: the observation and the action. `at` counts from 0; the last place is the end. */
function stepPanes(episode, at, bounds) {
  const step = episode.steps[at];
  if (!step) {
    return [
      el("div", { class: "pane" }, el("h2", {}, "The last observation"), episode.final ? seen(episode, episode.final, bounds) : el("p", { class: "note" }, "The environment never answered.")),
      el("div", { class: "pane" }, el("h2", {}, "Outcome"), ending(episode)),
    ];
  }
  const actions = actionsOf(episode, step);
  return [
    el("div", { class: "pane" }, el("h2", {}, "Observation"), seen(episode, step, bounds)),
    el("div", { class: "pane" },
      el("h2", {}, step.thought ? "Thought and action" : "Action"), done(step),
      actions ? [el("h2", {}, `Available actions (${actions.length})`), actions.length > 40 ? details("Show them", () => actionList(episode, step)) : actionList(episode, step)] : null,
      details("Raw completion", () => completionOf(step)),
      details("Messages sent", () => messageList(episode, at))),
  ];
}

function dialogue(episode, at, go) {
  const turns = episode.steps.map((step, position) => el("li", { class: "turn", "aria-current": position === at ? "step" : null, onclick: (event) => { if (!event.target.closest("details, button, a")) go(position); } },
    el("div", { class: "world" }, el("div", { class: "who" }, `${position + 1}`), el("div", {},
      step.feedback ? el("p", { class: "result flag" }, "\u2298 Not executed: ", line(step.feedback)) : null,
      textBlock(step.text ?? ""),
      actionsOf(episode, step) ? details(`${actionsOf(episode, step).length} available actions`, () => actionList(episode, step)) : null)),
    el("div", { class: "agent" }, el("div", { class: "who" }, "agent"), el("div", { class: "box" }, done(step),
      position === at ? [details("Raw completion", () => completionOf(step)), details("Messages sent", () => messageList(episode, position))] : null))));
  turns.push(el("li", { class: "turn", "aria-current": at === episode.steps.length ? "step" : null },
    el("div", { class: "world" }, el("div", { class: "who" }, "end"), el("div", {}, episode.final ? textBlock(episode.final.text ?? "") : null, ending(episode)))));
  return el("ol", { class: "talk" }, turns);
}

/** A file cannot write to the run folder: the command that does. */
const quoted = (path) => (/^[\w@%+=:,./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'"'"'`)}'`);
const noteCommand = (episode) => el("p", { class: "note" }, "Notes are kept in the run folder, and shown in the next report: ",
  el("code", {}, `metagym note ${shown(quoted(episode.run.path))} ${episode.row.log} "TEXT"`));

let mode = "";
let open = null;

async function showEpisode(position, at) {
  const episode = open?.position === position ? open : await load(position);
  open = episode;
  const bounds = boundsOf(episode);
  const row = episode.row;
  const places = numPlaces(episode);
  at = Math.max(0, Math.min(at, places - 1));
  if (!listed.includes(position)) listed = index.episodes.map((_, other) => other);
  const place = listed.indexOf(position);
  const style = mode || (bounds ? "step" : "dialogue");
  const go = (step) => { location.hash = `#/episode/${position + 1}/step/${step + 1}`; };
  const toggle = (name, label) => el("button", { type: "button", "aria-pressed": String(style === name), onclick: () => { mode = name; showEpisode(position, at); } }, label);
  const goal = (episode.steps[0] ?? episode.final ?? {}).goal;
  const [cls, word] = outcome(row);
  const partner = partners(position)[0];
  const scrolled = window.scrollY;
  $("episode").replaceChildren(
    el("div", { class: "tools" },
      el("a", { href: listHash() }, "All episodes"),
      el("span", { class: "grow" }),
      el("button", { type: "button", disabled: place <= 0, "aria-label": "Episode before", onclick: () => next(-1) }, "\u2191"),
      el("span", { class: "soft" }, `${(place + 1).toLocaleString("en")} of ${listed.length.toLocaleString("en")}`),
      el("button", { type: "button", disabled: place >= listed.length - 1, "aria-label": "Next episode", onclick: () => next(1) }, "\u2193"),
      el("button", { type: "button", disabled: at <= 0, "aria-label": "Step before", onclick: () => go(at - 1) }, "\u2190"),
      el("button", { type: "button", disabled: at >= places - 1, "aria-label": "Next step", onclick: () => go(at + 1) }, "\u2192"),
      toggle("step", "Step"), toggle("dialogue", "Dialogue"),
      partner === undefined ? null : el("a", { href: `#/compare/${position + 1}/${partner + 1}/step/${at + 1}` }, "Side by side")),
    el("h1", { class: "episode-title" }, `Episode ${position + 1}: `, el("bdi", {}, short(row.task)), " ", stamp(row.scripted) ?? ""),
    el("p", { class: "facts" },
      el("b", { class: cls }, word), el("span", {}, "score ", el("b", {}, number(row.score))),
      el("span", {}, short(row.family)), el("span", {}, `${shown(episode.run.name)}, ${playedFor(row)}${seedOf(row)}`),
      el("span", {}, `${row.steps} steps`), row.invalid ? el("span", { class: "no" }, `\u2298 ${row.invalid} invalid`) : null,
      el("span", {}, `ended: ${shown(row.detail ? `${row.stop}, ${row.detail}` : row.stop)}`)),
    row.note ? el("p", { class: "notice" }, "Note: ", line(row.note)) : "",
    details("The prompt it played under", () => [textBlock(episode.prompt), el("p", { class: "note" }, episodesOf(row.run, episode.prompt))]),
    details("Write a note", () => noteCommand(episode)),
    strip(episode, at, go),
    goal ? el("p", { class: "goal" }, "Goal: ", line(goal)) : "",
    style === "step" ? el("div", { class: "stage", "data-step": at + 1 }, stepPanes(episode, at, bounds)) : dialogue(episode, at, go),
  );
  window.scrollTo(0, scrolled);
  if (style === "dialogue" && at > 0) $("episode").querySelector(".turn[aria-current]").scrollIntoView({ block: "nearest" });
}

function next(by) {
  const place = listed.indexOf(open.position) + by;
  if (place >= 0 && place < listed.length) location.hash = `#/episode/${listed[place] + 1}`;
}
