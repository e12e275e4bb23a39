// The tool of the conversations in turns.mjs.

export const SCHEMA = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

export const weather = ({ city }) => `rain in ${city} "now" 🌧`;
