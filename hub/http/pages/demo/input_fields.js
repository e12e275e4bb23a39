// Which fields a form needs for the value of an input, and the value that they make. No DOM.
//
// A schema of an object with properties has one field for each of them, and any other schema has one
// field. What has no field of its own, such as a list, is entered as JSON. The hub checks the value.

const INPUT_TYPES = { email: "email", uri: "url", date: "date", time: "time" }; // by the format of a string
const LIMITS = { minimum: "min", maximum: "max", minLength: "minLength", maxLength: "maxLength" };

// Returns the fields of a schema, which may be null:
// { name, label, hint, kind, inputType, choices, isRequired, isNullable, initial, limits }
// name: of the property; null if the field is the whole value. kind: `text`, `number`, `boolean`,
// `choice` or `json`. choices: { label, value }. initial: the default as readValue gets it.
export function listFields(schema) {
  const properties = Object.entries(schema?.properties ?? {});
  if (!properties.length) return [fieldOf(null, schema, true)];
  const required = new Set(schema.required ?? []);
  return properties.map(([name, property]) => fieldOf(name, property, required.has(name)));
}

function fieldOf(name, given, isRequired) {
  const schema = given !== null && typeof given === "object" ? given : {}; // true allows everything
  const types = [schema.type ?? []].flat();
  const choices = choicesOf(schema);
  const kind = choices ? "choice" : kindOf(types.filter((type) => type !== "null"), schema);
  return {
    name,
    label: schema.title ?? name ?? "Your answer",
    hint: schema.description ?? "",
    kind,
    inputType: kind === "text" ? INPUT_TYPES[schema.format] ?? "text" : kind,
    choices,
    isRequired,
    isNullable: types.includes("null"),
    initial: initialOf(kind, choices, schema.default),
    limits: {
      ...(kind === "number" && { step: types.includes("integer") ? "1" : "any" }),
      ...Object.fromEntries(Object.entries(LIMITS).filter(([key]) => key in schema).map(([key, name]) => [name, schema[key]])),
    },
  };
}

function choicesOf(schema) {
  const named = schema.oneOf ?? schema.anyOf;
  if (named?.length && named.every((each) => "const" in each)) {
    return named.map((each) => ({ label: each.title ?? toText(each.const), value: each.const }));
  }
  const values = "const" in schema ? [schema.const] : schema.enum;
  return values?.map((value) => ({ label: toText(value), value })) ?? null;
}

function kindOf([type, other], schema) {
  if (other || "$ref" in schema || type === "object" || type === "array") return "json";
  if (type === "number" || type === "integer") return "number";
  return type === "boolean" ? "boolean" : "text";
}

function initialOf(kind, choices, value) {
  if (kind === "boolean") return value === true;
  if (value === undefined || value === null) return "";
  if (kind === "choice") {
    const index = choices.findIndex((choice) => JSON.stringify(choice.value) === JSON.stringify(value));
    return index < 0 ? "" : String(index);
  }
  return kind === "json" ? JSON.stringify(value) : String(value);
}

// Returns the value of the whole form. controls: { field, read() } for each field, where read()
// returns what was entered: a boolean, the number of a choice, or a text. Throws a FieldError.
export function readValue(controls) {
  const entries = controls.map(({ field, read }) => [field.name, readField(field, read())]);
  const [[name, value]] = entries;
  if (name === null) return value;
  return Object.fromEntries(entries.filter(([, each]) => each !== undefined));
}

export class FieldError extends Error {
  constructor(message, path) {
    super(message);
    this.path = path;
  }
}

// Returns undefined for a property that was left empty and may be left out.
function readField(field, entered) {
  if (field.kind === "boolean") return entered;
  if (entered === "" && !field.isRequired) return undefined;
  if (entered === "" && field.isNullable) return null;
  if (field.kind === "choice") return field.choices[Number(entered)]?.value;
  if (field.kind === "number") return Number(entered);
  if (field.kind === "text") return entered;
  try {
    return JSON.parse(entered);
  } catch {
    throw new FieldError(`${field.label}: this is not JSON.`, field.name);
  }
}

function toText(value) {
  return typeof value === "string" ? value : JSON.stringify(value);
}
