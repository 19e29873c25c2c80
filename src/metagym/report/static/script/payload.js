// What the file carries: the index, and the episodes in chunks that are unpacked when they are asked for.

async function unpack(name) {
  const bytes = Uint8Array.from(atob($(`payload-${name}`).textContent), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

let index = { runs: [], prompts: [], episodes: [] };
const chunks = new Map();

function chunk(place) {
  if (!chunks.has(place)) chunks.set(place, unpack(place));
  return chunks.get(place);
}

/** Return the whole episode at `position` (from 0), with its row of the index. */
async function load(position) {
  const row = index.episodes[position];
  const found = (await chunk(row.chunk))[row.at];
  return { ...found, row, position, run: index.runs[row.run], prompt: index.prompts[row.prompt] };
}

const actionsOf = (episode, step) => (step.actions ? episode.lists[step.actions - 1] : null);
