// Reads the chunks of answers from standard input, and prints what the real clients make of each:
// the parts of the message of the AI SDK, and the number of events that AG-UI's verifier accepts.
import { readFileSync } from "node:fs";

import { verifyEvents } from "@ag-ui/client";
import { EventSchemas } from "@ag-ui/core/schemas";
import { readUIMessageStream } from "ai";
import { from, lastValueFrom, toArray } from "rxjs";

async function readParts(chunks) {
  const stream = new ReadableStream({
    start(controller) {
      for (const chunk of chunks) controller.enqueue(chunk);
      controller.close();
    },
  });
  let message;
  for await (const state of readUIMessageStream({ stream, terminateOnError: true })) message = state;
  return message.parts;
}

async function verify(chunks) {
  const events = chunks.map((event) => EventSchemas.parse(event));
  return (await lastValueFrom(from(events).pipe(verifyEvents(false), toArray()))).length;
}

const read = [];
for (const { ui, agUi } of JSON.parse(readFileSync(0))) {
  read.push({ parts: await readParts(ui), verified: await verify(agUi) });
}
console.log(JSON.stringify(read));
