// Asks for the value of an input, and shows what became of it: a button for each option, or a form
// from the schema. The form is built once for a request, so that nothing that was entered is lost.

import { create } from "./dom.js";
import { listFields, readValue } from "./input_fields.js";

let formCount = 0; // makes the ids of this page unique

// respond(input, value): sends the value, and rejects if the hub refuses it.
// Returns the element and update(part), which shows the state of the part.
export function createInput(respond) {
  const element = create("div", "input");
  element.dataset.testid = "input";
  element.setAttribute("role", "group");
  const [prompt, outcome] = [create("p", "input-prompt"), create("p", "outcome")];
  prompt.id = `input-${(formCount += 1)}`;
  outcome.tabIndex = -1; // it gets the focus of the button that was pressed
  element.setAttribute("aria-labelledby", prompt.id);
  element.append(prompt, outcome);
  let form = null;
  let shown = ""; // what the form is for
  const update = (part) => {
    element.dataset.state = part.state;
    prompt.textContent = part.prompt;
    const request = JSON.stringify([part.prompt, part.options, part.schema, part.expires_at]);
    if (request !== shown) { // another attempt of the answer may need the same input again
      form?.remove();
      form = element.insertBefore(createForm(part, prompt.id, (value) => respond(part.input, value)), outcome);
      shown = request;
    }
    const isWaiting = part.state === "waiting";
    const hadFocus = form.contains(document.activeElement);
    form.hidden = !isWaiting;
    outcome.hidden = isWaiting;
    outcome.textContent = outcomeText(part);
    if (hadFocus && !isWaiting) outcome.focus({ preventScroll: true });
  };
  return { element, update };
}

export function outcomeText({ state, value, by }) {
  if (state === "received") return `${by}: ${typeof value === "string" ? value : JSON.stringify(value)}`;
  if (state === "expired") return "Nobody answered in time.";
  return state === "cancelled" ? "The answer ended before somebody answered." : "";
}

function createForm(part, promptId, respond) {
  const form = create("form");
  const error = create("p", "error");
  error.setAttribute("role", "alert");
  error.hidden = true;
  const fields = part.options ? [] : listFields(part.schema).map((field) => createField(field, promptId));
  const buttons = part.options ? part.options.map((option) => createButton("button", option)) : [createButton("submit", "Send")];
  const row = create("div", "input-buttons");
  row.append(...buttons, create("span", "note", untilText(part.expires_at)));
  form.append(...fields.map((each) => each.row), row, error);

  let isSending = false;
  const setSending = (value) => {
    isSending = value;
    // `disabled` would remove the focus from the button that was just pressed.
    for (const button of buttons) button.setAttribute("aria-disabled", String(value));
  };
  const send = async (readNow) => {
    if (isSending) return;
    setSending(true);
    error.hidden = true;
    for (const { control } of fields) control.removeAttribute("aria-invalid");
    try {
      await respond(readNow());
      return; // the event of the hub changes the form
    } catch (reason) {
      error.textContent = reason.message;
      error.hidden = false;
      const wrong = fields.find(({ field }) => field.name !== null && reason.path?.split(/[.[]/).includes(field.name));
      wrong?.control.setAttribute("aria-invalid", "true");
      wrong?.control.focus();
    }
    setSending(false);
  };
  if (part.options) buttons.forEach((button, index) => button.addEventListener("click", () => send(() => part.options[index])));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!part.options) send(() => readValue(fields));
  });
  return form;
}

function createField(field, promptId) {
  const row = create("div", `field ${field.kind}`);
  const label = create("label", "", field.label);
  const control = createControl(field);
  control.id = `field-${(formCount += 1)}`;
  label.htmlFor = control.id;
  if (field.name === null) control.setAttribute("aria-describedby", promptId);
  row.append(...(field.kind === "boolean" ? [control, label] : [label, control]));
  if (field.hint) {
    const hint = create("p", "note", field.hint);
    hint.id = `${control.id}-hint`;
    control.setAttribute("aria-describedby", [control.getAttribute("aria-describedby"), hint.id].filter(Boolean).join(" "));
    row.append(hint);
  }
  return { field, row, control, read: () => (field.kind === "boolean" ? control.checked : control.value) };
}

function createControl(field) {
  if (field.kind === "choice") {
    const select = create("select");
    const choices = field.choices.map(({ label }, index) => new Option(label, String(index)));
    select.append(new Option("–", ""), ...choices);
    Object.assign(select, { required: field.isRequired && !field.isNullable, value: field.initial });
    return select;
  }
  const control = create(field.kind === "json" ? "textarea" : "input");
  if (field.kind === "boolean") return Object.assign(control, { type: "checkbox", checked: field.initial });
  if (field.kind !== "json") control.type = field.inputType;
  for (const [name, value] of Object.entries(field.limits)) control[name] = value;
  return Object.assign(control, {
    required: field.isRequired && !field.isNullable, value: field.initial, autocomplete: "off",
  });
}

function createButton(type, text) {
  return Object.assign(create("button", "", text), { type });
}

function untilText(expiresAt) {
  const date = new Date(expiresAt * 1000);
  const isToday = date.toDateString() === new Date().toDateString();
  const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  return `until ${isToday ? date.toLocaleTimeString([], time) : date.toLocaleString([], { dateStyle: "medium", timeStyle: "short" })}`;
}
