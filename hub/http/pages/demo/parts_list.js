// Draws the folded parts of an answer as elements, in their order.
//
// An element is reused while its part is there, so that a selection, open details and the keyboard
// focus stay while the answer grows. Text of producers becomes text nodes only.

import { create, setText } from "./dom.js";
import { createInput } from "./input_form.js";
import { MarkdownView } from "./markdown.js";
import { createCode, createDetails, createSource, drawFile } from "./part_elements.js";
import { formatArguments, formatValue, listViews, shorten } from "./part_views.js";

const MAX_PREVIEW_CHARS = 120;
const STATE_TEXTS = { client: "for the client to run", none: "no result" };

export class PartsList {
  #items = new Map(); // key of a view → its element, how to update it, and the values that it shows

  // respond(input, value): gives the answer the value of an input.
  constructor(root, respond) {
    Object.assign(this, { root, respond });
  }

  // isRunning: whether the answer still grows.
  draw(parts, isRunning) {
    const views = listViews(parts, isRunning);
    const keys = new Set(views.map(({ key }) => key));
    for (const [key, { element }] of this.#items) {
      if (keys.has(key)) continue;
      element.remove();
      this.#items.delete(key);
    }
    views.forEach((view, index) => {
      const item = this.#items.get(view.key) ?? this.#add(view);
      const current = this.root.children[index] ?? null;
      if (current !== item.element) this.root.insertBefore(item.element, current); // first: long tables are measured
      if (!isEqual(item.values, view.values)) item.update(view);
      item.values = view.values;
      if (!isRunning) item.release?.();
    });
  }

  #add(view) {
    const item = ITEMS[view.type](this.respond);
    this.#items.set(view.key, item);
    return item;
  }
}

function isEqual(before, after) {
  return before?.length === after.length && before.every((value, index) => Object.is(value, after[index]));
}

// By the type of a view: returns a new element and the function that updates it.
const ITEMS = {
  text: () => {
    const element = create("div", "text");
    element.dataset.testid = "answer-text";
    const view = new MarkdownView(element);
    return { element, update: ({ part, isGrowing }) => view.update(part.text, isGrowing), release: () => view.release() };
  },
  reasoning: () => createDetails("reasoning", ({ summary, body }, { part }) => {
    setText(summary, "Reasoning");
    setText(body, part.text);
  }),
  status: () => {
    const element = create("p", "activity");
    return { element, update: ({ part }) => setText(element, part.text) };
  },
  step: () => {
    const element = create("p", "step");
    const [name, state] = [create("span"), create("span", "hidden")];
    element.append(name, state);
    return {
      element,
      update: ({ part }) => {
        element.dataset.state = part.state;
        setText(name, part.name);
        setText(state, `, step, ${part.state}`);
      },
    };
  },
  tool: () => createDetails("tool", ({ element, summary, body }, { part, state }) => {
    element.dataset.state = state;
    summary.replaceChildren(create("strong", "", part.name ?? "Result of a tool"), " ", create("span", "note", STATE_TEXTS[state] ?? state));
    body.replaceChildren(
      ...(part.arguments ? createCode("Input", formatArguments(part.arguments)) : []),
      ...(part.result === undefined ? [] : createCode(part.is_error ? "Error" : "Output", formatValue(part.result))),
    );
  }),
  data: () => createDetails("data", ({ summary, body }, { part }) => {
    const preview = create("code", "note", shorten(JSON.stringify(part.value), MAX_PREVIEW_CHARS));
    summary.replaceChildren(create("strong", "", part.name), " ", preview);
    body.replaceChildren(...createCode("Data", formatValue(part.value)));
  }),
  sources: () => {
    const element = create("ol", "sources");
    element.ariaLabel = "Sources";
    return { element, update: ({ sources }) => element.replaceChildren(...sources.map(createSource)) };
  },
  input: (respond) => {
    const { element, update } = createInput(respond);
    return { element, update: ({ part }) => update(part) };
  },
  file: () => {
    const element = create("figure", "file");
    return { element, update: ({ part }) => drawFile(element, part) };
  },
};
