// Navigation: addresses, keys, the theme, and the start.

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

addEventListener("beforeprint", () => { $("signs").open = true; });

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
