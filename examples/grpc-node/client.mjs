// Calls the hub over gRPC: `node client.mjs PART …` runs one part. docs/clients/grpc.md explains it.
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

// A copy of hub/grpc/hub.proto beside this file; the stubs are made when the program starts.
const definition = protoLoader.loadSync(new URL("hub.proto", import.meta.url).pathname, {
  keepCase: true, // field names as in the file
  defaults: true, // absent fields have their default value
});
const { hub } = grpc.loadPackageDefinition(definition);
const credentials = grpc.credentials.createInsecure(); // over TLS: grpc.credentials.createSsl()
const MAX_SILENCE_MS = 20_000; // more than two heartbeats

export function connect(address, token) {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${token}`);
  return { client: new hub.v1.Hub(address, credentials), metadata };
}

/** Call handle with each event and its data. Throws the error of the status that ends the stream for good. */
export async function follow({ client, metadata }, handle) {
  let cursor = "";
  let delayMs = 1000;
  while (true) {
    const stream = client.Connect({ cursor }, metadata);
    let silence = setTimeout(() => stream.cancel(), MAX_SILENCE_MS);
    try {
      for await (const { events } of stream) {
        silence.refresh();
        for (const event of events) { // none in a heartbeat
          handle(event.event, event.data);
          cursor = event.id || cursor; // ephemeral events have none
          if (event.event === "hub.bye") delayMs = JSON.parse(event.data).retry_ms ?? delayMs;
        }
      }
    } catch (error) {
      if (error.code !== grpc.status.UNAVAILABLE && error.code !== grpc.status.CANCELLED) throw error;
    } finally {
      clearTimeout(silence);
    }
    await new Promise((resolve) => setTimeout(resolve, delayMs));
  }
}

/** Publish an event to a user and return its cursor. id: repeat a failed call with the same one. */
export async function publish(address, key, user, id) {
  const client = new hub.v1.HubInternal(address, credentials);
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${key}`);
  const request = { user, event: "order.shipped", data: JSON.stringify({ order: 981 }), id };
  const response = await new Promise((resolve, reject) => {
    client.Publish(request, metadata, (error, value) => (error ? reject(error) : resolve(value)));
  });
  client.close();
  return response.published[0].cursor;
}

/** Call show with the id of the answer and each piece of it. Throws an error if the answer fails. */
export async function ask({ client, metadata }, prompt, show) {
  const stream = client.Generate({ prompt, on_disconnect: "ON_DISCONNECT_STOP" }, metadata);
  try {
    for await (const { events } of stream) {
      for (const { event, data } of events) {
        const { generation, text, message } = JSON.parse(data);
        if (event === "generation.snapshot" || event === "generation.delta") show(generation, text ?? "");
        else if (event === "generation.failed") throw new Error(message);
        else if (/^generation\.(stopped|replaced|restarted|continued)$/.test(event)) throw new Error(event);
      }
    }
  } finally {
    stream.cancel(); // when show has thrown an error, the answer stops at the LLM
  }
}

/** Stop an answer from anywhere. */
export async function stop({ client, metadata }, generation) {
  await new Promise((resolve, reject) => {
    client.Stop({ generation }, metadata, (error, value) => (error ? reject(error) : resolve(value)));
  });
}

const [part, address, token, ...rest] = process.argv.slice(2);
const parts = {
  async "grpc-follow"() {
    await follow(connect(address, token), (event, data) => console.log(`${event}\t${data}`));
  },
  async "grpc-publish"() {
    console.log(await publish(address, token, ...rest));
  },
  async "grpc-ask"() {
    const [prompt, stopAfter = Infinity] = rest;
    const connection = connect(address, token);
    let shown = 0;
    await ask(connection, prompt, (generation, text) => {
      process.stdout.write(text);
      shown += [...text].length;
      if (shown >= stopAfter) stop(connection, generation).catch(console.error);
    });
    connection.client.close();
  },
};
if (!parts[part]) throw new Error(`parts: ${Object.keys(parts).join(", ")}`);
await parts[part]().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
