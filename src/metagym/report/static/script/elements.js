// Making elements and texts. Every text of a run goes in as a text node; nothing is ever read as markup.

const $ = (id) => document.getElementById(id);

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

// The same table as in rendering.py: characters that cannot be seen, or that change the direction of the text.
const HIDDEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff\u{e0000}-\u{e007f}]/gu;
const CUT = 4000;

function sign(character) {
  const code = character.codePointAt(0);
  if (code < 0x20) return String.fromCharCode(0x2400 + code);
  return code === 0x7f ? "\u2421" : `[U+${code.toString(16).toUpperCase().padStart(4, "0")}]`;
}

const shown = (text) => String(text).replace(HIDDEN, sign);

/** Fill `node` with a text whose hidden characters have visible signs. */
function pour(node, text) {
  let from = 0;
  for (const found of text.matchAll(HIDDEN)) {
    if (found.index > from) node.append(text.slice(from, found.index));
    node.append(el("span", { class: "ctl", title: `U+${found[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}` }, sign(found[0])));
    from = found.index + found[0].length;
  }
  if (from < text.length) node.append(text.slice(from));
  return node;
}

/** Fill `node` with a text, cut if it is long, with a button for the rest. */
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
const stamp = (is) => (is ? el("b", { class: "stamp", title: "A script played or reflected; this says nothing about language models." }, "SCRIPTED") : null);
