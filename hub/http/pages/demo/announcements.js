// What users of screen readers hear of an answer: its beginning, what it does, and all of it at its end.

import { announce } from "./dom.js";
import { outcomeText } from "./input_form.js";

// name, data: of the event. generation: after the event.
export function announceProgress(name, data, generation) {
  if (name === "generation.started") announce("Answer started.");
  else if (name === "generation.restarted") announce("The answer begins anew.");
  else if (name === "generation.continued") announce("The answer continues.");
  else if (name === "generation.part" && data.type === "status") announce(data.text);
  else if (name === "generation.input_requested" && data.i !== undefined) announce(`The answer asks: ${data.prompt}`);
  else if (name === "generation.input_received" || name === "generation.input_expired") {
    const part = generation.parts.find(({ type, input }) => type === "input" && input === data.input);
    if (part) announce(outcomeText(part));
  } else if (generation.isEnded) {
    const endings = { stopped: "Answer stopped.", failed: `Answer failed: ${generation.message}` };
    announce([generation.text, endings[generation.status]].filter(Boolean).join("\n"));
  }
}
