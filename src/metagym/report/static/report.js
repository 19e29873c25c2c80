// The report's one script: unpacks the episodes, lists and filters them, and steps through them.
// Every text of a run goes in by textContent or as a text node; nothing is ever read as markup.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);

  // Making elements ------------------------------------------------------------------------------

  /** An element; `attributes` are the page's own, `children` are nodes or texts. */
  function el(name, attributes = {}, ...children) {
    const node = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
    }
    for (const child of children.flat()) {
      if (child !== null && child !== undefined && child !== false) node.append(child);
    }
    return node;
  }

  // The same table as in visible.py: what cannot be seen, or turns the direction of what follows.
  const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]/g;
  const CUT = 4000;

  function sign(character) {
    const code = character.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? "\u2421" : `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
  }

  const shown = (text) => String(text).replace(HIDDEN, sign);

  /** Fill `node` with a text whose hidden characters have visible signs. */
  function pour(node, text) {
    let from = 0;
    for (const found of text.matchAll(HIDDEN)) {
      if (found.index > from) node.append(text.slice(from, found.index));
      node.append(el("span", { class: "ctl", title: `U+${found[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}` }, sign(found[0])));
      from = found.index + 1;
    }
    if (from < text.length) node.append(text.slice(from));
    return node;
  }

  /** Fill `node` with a text, cut where it is long, with a button for the rest. */
  function fill(node, text, cut = CUT) {
    if (text.length <= cut * 1.25) return pour(node, text);
    pour(node, text.slice(0, cut));
    node.append(
      el("button", { type: "button", class: "more", onclick: (event) => { event.target.remove(); pour(node, text.slice(cut)); } },
        `Show all ${text.length.toLocaleString("en")} characters`),
    );
    return node;
  }

  const textBlock = (text, { cls = "text", cut = CUT } = {}) => fill(el("div", { class: cls, dir: "auto" }), text, cut);
  const line = (text, cls = "") => fill(el("bdi", { class: cls }), text);
  /** A short text for a label. */
  const short = (text, length = 300) => shown(text.length > length ? `${text.slice(0, length)}\u2026` : text);

  const details = (title, fill) => {
    const node = el("details", {}, el("summary", {}, title));
    node.addEventListener("toggle", () => { if (node.open && node.children.length === 1) node.append(...[fill()].flat()); });
    return node;
  };

  const number = (value, digits = 2, plus = false) =>
    value === undefined || value === null ? "\u2013"
      : (plus && value > 0 ? "+" : "") + value.toFixed(digits).replace("-", "\u2212");
  const stamp = (is) => (is ? el("b", { class: "stamp", title: "A stand-in played or reflected; this says nothing about language models." }, "SCRIPTED") : null);

  // What the file carries ------------------------------------------------------------------------

  async function unpack(name) {
    const bytes = Uint8Array.from(atob($(`payload-${name}`).textContent), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  let index = { runs: [], prompts: [], episodes: [] };
  const chunks = new Map();

  function chunk(number_) {
    if (!chunks.has(number_)) chunks.set(number_, unpack(number_));
    return chunks.get(number_);
  }

  /** Return the whole episode at `position` (from 0), with its row of the index. */
  async function load(position) {
    const row = index.episodes[position];
    const found = (await chunk(row.chunk))[row.at];
    return { ...found, row, position, run: index.runs[row.run], prompt: index.prompts[row.prompt] };
  }

  const actionsOf = (episode, step) => (step.actions ? episode.lists[step.actions - 1] : null);

  // Words on an episode --------------------------------------------------------------------------

  function outcome(row) {
    if (row.stop === "error") return ["off", "! apparatus failed"];
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

  // The list -------------------------------------------------------------------------------------

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

  // One episode ----------------------------------------------------------------------------------

  /** The known part of NetHack's map in a grid that stays where it is over the whole episode. */
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

  /** What was decided, what was executed, and what it gave. */
  function done(step) {
    const said = step.action ?? null;
    return [
      step.thought ? textBlock(step.thought, { cls: "text said" }) : null,
      el("p", { class: "decided" }, said === null ? el("span", { class: "flag" }, "\u2298 no action could be read") : line(said, "command"),
        el("span", { class: "reward" }, "reward ", el("b", { class: step.reward > 0 ? "ok" : step.reward < 0 ? "no" : "" }, number(step.reward, Number.isInteger(step.reward) ? 0 : 3, true)))),
      step.invalid ? el("p", { class: "result" }, el("span", { class: "flag" }, step.command === undefined ? "\u2298 Invalid, not executed: " : "\u2298 Invalid, executed all the same: "), line(step.problem ?? "it was not an available action.")) : null,
      step.command !== undefined && step.command !== said ? el("p", { class: "result" }, "Executed: ", line(step.command, "command")) : null,
      step.events ? el("p", { class: "result" }, "Done by the environment itself: ", line(step.events.join(", "))) : null,
    ];
  }

  function completionOf(step) {
    const completion = step.completion;
    if (!completion) return el("p", { class: "note" }, "No model was called for this step: a stand-in or a function decided.");
    const usage = completion.usage ?? {};
    const told = [`finish: ${completion.finish_reason ?? "stop"}`, completion.model, usage.prompt_tokens && `${usage.prompt_tokens} prompt tokens`, usage.completion_tokens && `${usage.completion_tokens} completion tokens`];
    return el("div", { class: "raw" },
      completion.reasoning ? el("div", { class: "message" }, el("b", {}, "reasoning"), textBlock(completion.reasoning)) : null,
      el("div", { class: "message" }, el("b", {}, short(told.filter(Boolean).join(" \u00b7 "))), textBlock(completion.text ?? "")),
    );
  }

  // The messages are rebuilt as ChatActor builds them (actor.py, models/context.py); a test compares the two.
  const utf8 = new TextEncoder();
  const tokens = (messages) => messages.reduce((sum, message) => sum + Math.floor(utf8.encode(message.content).length / 4) + 4, 0);

  function turn(actor, episode, step) {
    const parts = [step.text ?? ""];
    if (step.feedback) parts.unshift(`Not executed: ${step.feedback}`);
    const actions = actionsOf(episode, step);
    if (actor.list_actions && actions) parts.push("Available actions: " + actions.join(", "));
    return parts.join("\n\n");
  }

  function conversation(actor, episode, prompt, count) {
    const step = episode.steps[count];
    const kept = actor.history_steps === null ? count : Math.min(actor.history_steps, count);
    let head = step.goal ? `Goal: ${step.goal}\n\n` : "";
    if (kept < count) head += `[${count - kept} earlier turns are left out.]\n\n`;
    const messages = [{ role: "system", content: `${prompt}\n\n${actor.reply_format}` }];
    for (const past of episode.steps.slice(count - kept, count)) {
      messages.push({ role: "user", content: turn(actor, episode, past) });
      messages.push({ role: "assistant", content: past.completion ? past.completion.text ?? "" : `Action: ${past.action ?? ""}` });
    }
    messages.push({ role: "user", content: turn(actor, episode, step) });
    messages[1] = { role: "user", content: head + messages[1].content };
    return messages;
  }

  function fitted(messages, limit, known) {
    const scale = known && known[0] && known[1] ? known[1] / known[0] : 1;
    const sizes = messages.map((message) => tokens([message]) * scale);
    let excess = sizes.reduce((sum, size) => sum + size, 0) - limit;
    const first = 1;
    let kept = first;
    while (excess > 0 && kept + 2 < messages.length) {
      excess -= sizes[kept + 1] + (kept > first ? sizes[kept] : 0);
      kept += 2;
    }
    if (kept === first) return messages;
    const note = `[${(kept - first) / 2} turns are left out here.]`;
    const content = `${messages[first].content}\n\n${note}\n\n${messages[kept].content}`;
    return [...messages.slice(0, first), { role: "user", content }, ...messages.slice(kept + 1)];
  }

  function messagesOf(episode, count) {
    const actor = episode.run.actor;
    const prompt = episode.steps[count].sent ?? episode.prompt;
    const messages = conversation(actor, episode, prompt, count);
    if (actor.context_tokens === null || actor.context_tokens === undefined) return messages;
    const opening = episode.steps[0];
    const known = count && opening.completion
      ? [tokens(conversation(actor, episode, opening.sent || prompt, 0)), opening.completion.usage?.prompt_tokens ?? 0] : null;
    return fitted(messages, actor.context_tokens - actor.max_reply_tokens, known);
  }

  function messageList(episode, count) {
    if (!episode.run.actor || !episode.steps[count].completion) {
      return el("p", { class: "note" }, episode.steps[count].completion ? "This actor is not metagym's ChatActor: how it builds its messages is not in the record." : "No model was called for this step, so no message was sent.");
    }
    return el("div", { class: "raw messages" }, messagesOf(episode, count).map((message) => el("div", { class: "message" }, el("b", {}, message.role), textBlock(message.content))));
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

  /** One step of an episode: what was seen, and what was done. `at` counts from 0; the last place is the end. */
  function stepPanes(episode, at, bounds) {
    const step = episode.steps[at];
    if (!step) {
      return [
        el("div", { class: "pane" }, el("h2", {}, "What stood there at the end"), episode.final ? seen(episode, episode.final, bounds) : el("p", { class: "note" }, "The environment never answered.")),
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
      details("The prompt it played under", () => textBlock(episode.prompt)),
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

  // Side by side ---------------------------------------------------------------------------------

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

  /** The prompt of one of a pair; where both differ, the lines that the other one lacks are marked. */
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

  // The history of the prompts -------------------------------------------------------------------

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

  function version(row, position, rows, single) {
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
        el("span", { class: "name" }, single ? `meta-step ${position}` : `prompt ${position}`), " ",
        el("div", { class: "score" }, number(row.score)), move(row, rows[position - 1]),
        row.online === undefined || row.online === null ? null : el("span", { class: "small" }, `online ${number(row.online)}`),
        row.chosen ? el("span", { class: "chip mark" }, "chosen") : null,
        row.failed ? el("span", { class: "small no" }, `! ${row.failed} failed`) : null),
      el("div", {}, row.problem ? el("p", { class: "result flag" }, "\u2298 The reply could not be used, and the old prompt was kept: ", line(row.problem)) : null,
        body, el("div", { class: "links" }, button,
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
      const show = (history_) => list.replaceChildren(...history_.rows.map((row, position) => version(row, position, history_.rows, history_.seed === null)));
      const run = (number_) => index.runs[number_];
      const label = (history_) => shown([run(history_.run).name, history_.family, history_.seed === null ? "" : `seed ${history_.seed}`].filter(Boolean).join(" \u00b7 "));
      const select = el("select", { onchange: (event) => show(own[Number(event.target.value)]) }, own.map((history_, number_) => el("option", { value: number_ }, label(history_))));
      place.replaceChildren(own.length > 1 ? el("div", { class: "pick" }, el("label", {}, "Meta-episode", select)) : "", list);
      show(own[0]);
    }
  }

  // Where we are ---------------------------------------------------------------------------------

  async function route() {
    await go();
    document.body.dataset.place = location.hash;
  }

  async function go() {
    const hash = location.hash;
    if (hash && !hash.startsWith("#/") && $(hash.slice(1))) { view("overview", true); return; }
    const [path, query] = hash.slice(2).split("?");
    const parts = path.split("/").filter(Boolean);
    if (parts[0] === "episodes") {
      setFilters(new URLSearchParams(query ?? ""));
      view("episodes");
      await filter();
    } else if (parts[0] === "episode") {
      const position = Number(parts[1]) - 1;
      if (!index.episodes[position]) { location.replace("#/episodes"); return; }
      const isNew = open?.position !== position || $("episode").hidden;
      await showEpisode(position, parts[2] === "step" ? Number(parts[3]) - 1 || 0 : 0);
      view("episode", !isNew);
    } else if (parts[0] === "compare") {
      const stays = !$("compare").hidden;
      await compare(parts.slice(1));
      view("compare", stays);
    } else view("overview");
  }

  function view(name, stay = false) {
    for (const other of ["overview", "episodes", "episode", "compare"]) $(other).hidden = other !== name;
    const current = name === "episode" ? "episodes" : name;
    for (const link of document.querySelectorAll("nav [data-view]")) {
      if (link.dataset.view === current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (!stay) window.scrollTo({ top: 0, behavior: "instant" });
    document.body.dataset.view = name;
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea")) return;
    if (event.key === "/") { event.preventDefault(); location.hash = listHash(); setTimeout(() => form.elements.text.focus(), 50); return; }
    const is = document.body.dataset.view;
    if (is !== "episode" && is !== "compare") return;
    const back = is === "episode" ? [".tools [aria-label='Step before']", ".tools [aria-label='Next step']", ".tools [aria-label='Episode before']", ".tools [aria-label='Next episode']"] : [".tools [aria-label='Step before']", ".tools [aria-label='Next step']"];
    const which = ["ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown"].indexOf(event.key);
    if (which < 0 || which >= back.length) return;
    event.preventDefault();
    $(is).querySelector(back[which])?.click();
  });

  document.addEventListener("click", (event) => {
    const place = event.target.closest?.("[data-go]");
    if (place && !event.target.closest("a")) location.hash = place.dataset.go;
  });

  const tip = $("tip");
  document.addEventListener("pointerover", (event) => {
    const place = event.target.closest?.("[data-tip]");
    tip.hidden = !place;
    if (!place) return;
    tip.textContent = place.dataset.tip;
    const box = place.getBoundingClientRect();
    const width = tip.offsetWidth;
    tip.style.left = `${Math.max(8, Math.min(box.left + box.width / 2 - width / 2, innerWidth - width - 8))}px`;
    tip.style.top = `${box.top > 60 ? box.top - tip.offsetHeight - 6 : box.bottom + 6}px`;
  });

  const THEMES = ["auto", "light", "dark"];
  function theme(name) {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    $("theme").querySelector("span").textContent = name;
    try { localStorage.setItem("metagym-theme", name); } catch { /* a file may have no storage */ }
  }
  let remembered = "auto";
  try { remembered = localStorage.getItem("metagym-theme") ?? "auto"; } catch { /* as above */ }
  theme(THEMES.includes(remembered) ? remembered : "auto");
  $("theme").addEventListener("click", () => theme(THEMES[(THEMES.indexOf($("theme").querySelector("span").textContent) + 1) % 3]));

  async function start() {
    if (typeof DecompressionStream === "undefined") throw new Error("this browser has no DecompressionStream; any of 2024 or later has it");
    index = await unpack("index");
    fillFilters();
    addEventListener("hashchange", route);
    await route();
    await showPrompts();
    performance.mark("ready");
    document.documentElement.dataset.ready = "yes";
  }

  start().catch((error) => {
    $("fault").hidden = false;
    $("fault").textContent = `The episodes cannot be unpacked: ${error.message}.`;
  });
})();
