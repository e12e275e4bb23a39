// Tests which fields the demo page shows for a schema, and the value that they make.
import assert from "node:assert/strict";
import { test } from "node:test";

import { FieldError, listFields, readValue } from "../../hub/http/pages/demo/input_fields.js";

// entered: by the name of the field; "" stands for the only field.
const valueOf = (schema, entered) => readValue(
  listFields(schema).map((field) => ({ field, read: () => entered[field.name ?? ""] ?? field.initial })),
);
const object = (properties, required = []) => ({ type: "object", properties, required });

test("each property has a field of its kind, and anything that has none is JSON", () => {
  const fields = listFields(object({
    name: { type: "string", title: "Your name", description: "as on the card", maxLength: 9 },
    mail: { type: "string", format: "email" },
    amount: { type: "number", minimum: 0, default: 40 },
    count: { type: "integer", maximum: 3 },
    sure: { type: "boolean", default: true },
    colour: { enum: ["red", 7, null], default: 7 },
    size: { oneOf: [{ const: "s", title: "Small" }, { const: "l", title: "Large" }] },
    tags: { type: "array" },
    both: { type: ["string", "number"] },
    maybe: { type: ["string", "null"] },
    any: true,
  }, ["name", "maybe"]));
  assert.deepEqual(fields.map(({ name, kind }) => [name, kind]), [
    ["name", "text"], ["mail", "text"], ["amount", "number"], ["count", "number"], ["sure", "boolean"],
    ["colour", "choice"], ["size", "choice"], ["tags", "json"], ["both", "json"], ["maybe", "text"], ["any", "text"],
  ]);
  const [name, mail, amount, count, sure, colour, size] = fields;
  assert.deepEqual([name.label, name.hint, name.isRequired, name.limits], ["Your name", "as on the card", true, { maxLength: 9 }]);
  assert.deepEqual([mail.label, mail.inputType, mail.isRequired], ["mail", "email", false]);
  assert.deepEqual([amount.initial, amount.limits, count.limits], ["40", { step: "any", min: 0 }, { step: "1", max: 3 }]);
  assert.deepEqual([sure.initial, colour.initial, colour.choices.map(({ label }) => label)], [true, "1", ["red", "7", "null"]]);
  assert.deepEqual(size.choices, [{ label: "Small", value: "s" }, { label: "Large", value: "l" }]);
});

test("values have the types of the schema, and empty fields are left out", () => {
  const schema = object({
    name: { type: "string" }, note: { type: "string" }, maybe: { type: ["string", "null"] }, amount: { type: "number" },
    sure: { type: "boolean" }, colour: { enum: ["red", 7] }, tags: { type: "array" },
  }, ["name", "maybe"]);
  assert.deepEqual(valueOf(schema, { name: "7" }), { name: "7", maybe: null, sure: false });
  assert.deepEqual(
    valueOf(schema, { name: "", note: "x", maybe: "m", amount: "1.5", sure: true, colour: "1", tags: '["a"]' }),
    { name: "", note: "x", maybe: "m", amount: 1.5, sure: true, colour: 7, tags: ["a"] },
  );
});

test("a schema that is no object has one field, which is the value", () => {
  assert.equal(valueOf(null, { "": "42" }), "42");
  assert.equal(valueOf(true, { "": "42" }), "42");
  assert.equal(valueOf({}, { "": "" }), "");
  assert.equal(valueOf({ type: "integer" }, { "": "42" }), 42);
  assert.equal(valueOf({ type: "boolean" }, {}), false);
  assert.equal(valueOf({ type: ["number", "null"] }, { "": "" }), null);
  assert.equal(valueOf({ enum: [1, 2] }, { "": "1" }), 2);
  assert.deepEqual(valueOf({ type: "array" }, { "": "[1]" }), [1]);
  assert.deepEqual(valueOf({ type: "object" }, { "": "{}" }), {});
});

test("text that is not JSON is refused with the name of its field", () => {
  const refused = (error) => error instanceof FieldError && error.path === "tags" && /tags/.test(error.message);
  assert.throws(() => valueOf(object({ tags: { type: "array" } }), { tags: "[" }), refused);
});
