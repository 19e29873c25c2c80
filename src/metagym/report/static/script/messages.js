// The messages that were sent, rebuilt as ChatActor builds them (actor/chat.py); a test compares the two.

const MAX_REPEATED_LIST = 200;
const STILL_HOLDS = "The last observation still holds:";
const FILLED_AGAIN = 0.75;
const utf8 = new TextEncoder();
const tokens = (messages) => messages.reduce((sum, message) => sum + Math.floor(utf8.encode(message.content).length / 4) + 4, 0);

const listedActions = (actor, episode, step) => (actor.list_actions ? actionsOf(episode, step) : null) ?? null;

const isExecuted = (step) => (step.command ?? null) !== null;

function replyForm(actor, actions) {
  const [example] = actions ?? [];
  const { text, text_with_actions } = actor.reply_format;
  return example === undefined ? text : text_with_actions.replace("{action}", () => example);
}

function turn(actor, episode, before, step) {
  const text = step.text ?? "";
  const parts = step.feedback ? [`Not executed: ${step.feedback}`, `${STILL_HOLDS}\n${text}`] : [text];
  const actions = listedActions(actor, episode, step);
  const isKnown = before && JSON.stringify(listedActions(actor, episode, before)) === JSON.stringify(actions);
  const listed = (actions ?? []).join(", ");
  const isLeftOut = isKnown && !step.feedback && [...listed].length > MAX_REPEATED_LIST;
  if (actions) parts.push(isLeftOut ? "The available actions are the same." : `Available actions: ${listed}`);
  if (step.feedback) parts.push(replyForm(actor, actions));
  return parts.join("\n\n");
}

function conversation(actor, episode, prompt, count) {
  const step = episode.steps[count];
  const kept = actor.history_steps === null ? count : Math.min(actor.history_steps, count);
  let head = step.goal ? `Goal: ${step.goal}\n\n` : "";
  if (kept < count) head += `[${count - kept} earlier turns are left out.]\n\n`;
  const form = replyForm(actor, listedActions(actor, episode, episode.steps[0]));
  const messages = [{ role: "system", content: `${prompt}\n\n${form}` }];
  let before = null;
  for (const past of episode.steps.slice(count - kept, count)) {
    if (isExecuted(past)) {
      const reply = past.completion ? past.completion.text ?? "" : `Action: ${past.action}`;
      messages.push({ role: "user", content: turn(actor, episode, before, past) });
      messages.push({ role: "assistant", content: reply });
    }
    before = past;
  }
  messages.push({ role: "user", content: turn(actor, episode, before, step) });
  messages[1] = { role: "user", content: head + messages[1].content };
  return messages;
}

function fitted(messages, limit, known, withoutHistory) {
  const scale = known && known[0] && known[1] ? known[1] / known[0] : 1;
  const sizes = messages.map((message) => tokens([message]) * scale);
  const first = 1;
  let total = sizes[0] + sizes[first];
  let turns = 0;
  for (let reply = first + 1; reply < messages.length; reply += 2) {
    total += sizes[reply] + sizes[reply + 1];
    if (total <= limit) continue;
    while (total > FILLED_AGAIN * limit && first + 2 * turns < reply) {
      const left = first + 2 * turns;
      total -= sizes[left + 1] + (left > first ? sizes[left] : 0);
      turns += 1;
    }
  }
  if (!turns) return messages;
  const kept = first + 2 * turns;
  const content = `${messages[first].content}\n\n[${turns} turns are left out here.]\n\n${withoutHistory(turns)}`;
  return [...messages.slice(0, first), { role: "user", content }, ...messages.slice(kept + 1)];
}

function messagesOf(episode, count) {
  const actor = episode.run.actor;
  const prompt = episode.steps[count].sent ?? episode.prompt;
  const messages = conversation(actor, episode, prompt, count);
  if (actor.context_tokens === null || actor.context_tokens === undefined) return messages;
  const opening = episode.steps[0];
  const known = count && opening.completion
    ? [tokens(conversation(actor, episode, opening.sent ?? prompt, 0)), opening.completion.usage?.prompt_tokens ?? 0] : null;
  const shown = [...episode.steps.slice(0, count).filter(isExecuted), episode.steps[count]].slice(-messages.length / 2);
  return fitted(messages, actor.context_tokens - actor.max_reply_tokens, known, (index) => turn(actor, episode, null, shown[index]));
}

function messageList(episode, count) {
  if (!episode.run.actor || !episode.steps[count].completion) {
    return el("p", { class: "note" }, episode.steps[count].completion ? "This actor is not metagym's ChatActor: how it builds its messages is not in the record." : "No model was called for this step, so no message was sent.");
  }
  return el("div", { class: "raw messages" }, messagesOf(episode, count).map((message) => el("div", { class: "message" }, el("b", {}, message.role), textBlock(message.content))));
}
