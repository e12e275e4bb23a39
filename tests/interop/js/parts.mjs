// Reads the chunks of an answer from standard input, and prints what the real clients make of them:
// the parts of the message of the AI SDK, and the number of events that AG-UI's verifier accepts.
import { readFileSync } from "node:fs";

import { verifyEvents } from "@ag-ui/client";
import { EventSchemas } from "@ag-ui/core/schemas";
import { readUIMessageStream } from "ai";
import { from, lastValueFrom, toArray } from "rxjs";

const { ui, agUi } = JSON.parse(readFileSync(0));

const stream = new ReadableStream({
  start(controller) {
    for (const chunk of ui) controller.enqueue(chunk);
    controller.close();
  },
});
let message;
for await (const state of readUIMessageStream({ stream, terminateOnError: true })) message = state;

const events = agUi.map((event) => EventSchemas.parse(event));
const verified = await lastValueFrom(from(events).pipe(verifyEvents(false), toArray()));
console.log(JSON.stringify({ parts: message.parts, verified: verified.length }));
