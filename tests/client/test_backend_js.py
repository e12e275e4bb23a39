"""The client for backends in Node: every part once, stops, attempts and ends, in one process."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.client.test_producer import Fault, relayed
from tests.conftest import missing
from tests.docs.snippets import DOCS, find_blocks
from tests.http.kit import running_hub

MODULE = Path(__file__).parents[2] / "clients" / "javascript" / "backend.js"
PROGRAM = """
import { connectBackend, GenerationStopped, LeaseLost } from %(module)s;
const [url, publicUrl] = process.argv.slice(2);
const backend = connectBackend(url);
const results = {};
const snapshot = async (id) => (await fetch(`${publicUrl}/generations/${id}?user=alice`)).json();
const stop = (id) => fetch(`${publicUrl}/generations/${id}?user=alice`, { method: "DELETE" });
const nameOf = (promise) => promise.then(() => null, (error) => error.name);
const aborted = (signal) =>
  signal.aborted || new Promise((resolve) => signal.addEventListener("abort", resolve));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

await backend.generation({ user: "alice", model: "agent", messages: "why?" }, async (answer) => {
  for (let n = 0; n < 60; n += 1) {
    await answer.write({ type: "data", name: "n", value: n, id: String(n) });
    if (n %% 7 === 0) await pause(30);
  }
  await answer.write("Hel");
  await answer.write("lo");
  results.parts = answer.generation;
});
results.parts = await snapshot(results.parts);

let id;
results.failed = await nameOf(backend.generation({ user: "alice" }, async (answer) => {
  id = answer.generation;
  throw new RangeError("a secret");
}));
results.failedRecord = await snapshot(id);

const short = { user: "alice", lease_seconds: 5 };
results.stopped = await nameOf(backend.generation(short, async (answer) => {
  id = answer.generation;
  answer.signal.addEventListener("abort", () => (results.aborted = answer.signal.reason.by));
  await answer.write("a");
  await answer.flush();
  await stop(id);
  for (;;) {
    await answer.write("b");
    await pause(5);
  }
}));
results.stoppedRecord = await snapshot(id);

// Posts fail after the first, so that only the control stream can tell of the stop. Its first
// connection fails too.
let [isCut, controls] = [false, 0];
const cutting = connectBackend(url, {
  fetch: (target, init) => {
    if (target.endsWith("/control") && ++controls === 1) throw new TypeError("cut");
    if (target.endsWith("/parts") && isCut) throw new TypeError("cut");
    return fetch(target, init);
  },
});
const long = { user: "alice", lease_seconds: 900, id: "l" };
results.silent = await nameOf(cutting.generation({ ...long, id: "s" }, async (answer) => {
  await answer.write("a");
  await answer.flush();
  isCut = true;
  await stop(answer.generation);
  await aborted(answer.signal);
  results.silentBy = answer.signal.reason.by;
  await answer.write("b");
}));
isCut = false;
results.silentLost = await nameOf(cutting.generation(long, async (first) => {
  await first.write("a");
  await first.flush();
  isCut = true;
  await backend.generation({ user: "alice", id: "l" }, async () => {});
  await aborted(first.signal);
  await first.flush();
}));

results.lost = await nameOf(backend.generation({ user: "alice", id: "k" }, async (first) => {
  await first.write("kept ", { checkpoint: { page: 2 } });
  await first.write("lost");
  await first.flush();
  await backend.generation({ user: "alice", id: "k" }, async (second) => {
    results.second = [second.attempt, second.checkpoint, second.previous];
    await second.write("and new");
    id = second.generation;
  });
  await first.write("more");
  await first.flush();
}));
results.continued = await snapshot(id);
const again = backend.generation({ user: "alice", id: "k" }, async () => {});
results.ended = await again.catch((error) => error.code);
const wrong = (answer) => answer.write({ text: "a" });
results.wrong = await nameOf(backend.generation({ user: "alice" }, wrong));
await backend.generation({ user: "alice" }, async (answer) => {
  id = answer.generation;
  await answer.fail("out_of_stock", "There is none left.", { retryable: true });
});
results.worded = await snapshot(id);

const steer = async (id, message) => {
  const headers = { "Content-Type": "application/json" };
  const init = { method: "POST", headers, body: JSON.stringify({ message }) };
  await fetch(`${publicUrl}/generations/${id}/steer?user=alice`, init);
};
const nextMessages = async (answer) => {
  let messages = [];
  while (!messages.length) {
    await pause(5);
    messages = answer.steering();
  }
  return messages.map(({ n, message, by }) => [n, message.content, by]);
};
results.messages = [];
await nameOf(backend.generation({ user: "alice", id: "m", lease_seconds: 900 }, async (first) => {
  await steer(first.generation, "one");
  results.messages.push(await nextMessages(first));
  await first.write("kept", { checkpoint: 1 });
  await first.flush();
  await steer(first.generation, "two");
  await backend.generation({ user: "alice", id: "m" }, async (second) => {
    results.messages.push(await nextMessages(second), second.steering());
  });
  await first.write("more");
  await first.flush();
}));

const give = async (id, key, value) => {
  const headers = { "Content-Type": "application/json" };
  const init = { method: "POST", headers, body: JSON.stringify({ value }) };
  const target = `${publicUrl}/generations/${id}/inputs/${key}?user=alice`;
  while (!(await fetch(target, init)).ok) await pause(5);
};
await nameOf(backend.generation({ user: "alice", id: "i", lease_seconds: 900 }, async (first) => {
  give(first.generation, "refund", "approve");
  results.input = [await first.input("refund", "Refund?", { options: ["approve", "deny"] })];
  await backend.generation({ user: "alice", id: "i" }, async (second) => {
    results.input.push(second.inputs, await second.input("refund", "Refund?"));
  });
}));

await backend.generation({ user: "alice", id: "u" }, async (answer) => {
  id = answer.generation;
  await answer.write("kept");
  await answer.suspend("refund", "Refund?", { state: { page: 2 } });
});
results.suspended = [(await snapshot(id)).status];
await give(id, "refund", "approve");
await backend.generation({ user: "alice", id: "u" }, async (answer) => {
  results.suspended.push(answer.checkpoint, answer.inputs);
});

const ask = async (prompt) => {
  const body = JSON.stringify({ prompt, upstream: "support", model: "m" });
  const init = { method: "POST", body, headers: { "Content-Type": "application/json" } };
  return (await (await fetch(`${publicUrl}/generations?user=alice`, init)).json()).generation;
};
id = await ask("why?");
for await (const job of backend.jobs("support")) break;
for await (const job of backend.jobs("support")) {
  await job.answer.write(job.prompt);
  await job.answer.done();
  break;
}
results.job = await snapshot(id);
const ending = new AbortController();
const slow = connectBackend(url, {
  fetch: async (target, init) => {
    const response = await fetch(target, { ...init, signal: undefined });
    if (ending.signal.aborted) return response;
    ending.abort(); // the claim has got a job, and its response is lost
    throw new TypeError("cut");
  },
});
const returned = await ask("returned?");
for await (const job of slow.jobs("support", { signal: ending.signal })) job.answer.done();
for await (const job of backend.jobs("support")) {
  results.returned = [job.generation === returned, job.attempt];
  await job.answer.done();
  break;
}
const ids = [await ask("one"), await ask("fails"), await ask("two")];
const draining = new AbortController();
let runs = 0;
console.error = (text) => (results.logged = text);
await backend.worker("support", async (job, answer) => {
  if (++runs === 3) draining.abort();
  if (job.prompt === "fails") throw new Error("a secret");
  await answer.write("answer to ");
  return job.prompt;
}, { max_running: 2, signal: draining.signal });
results.jobs = await Promise.all(ids.map(snapshot));
console.log(JSON.stringify(results));
"""


# The examples of the documents, with what they take from the program around them.
EXAMPLES = """
const search = async (words, { signal }) => (signal.aborted ? [] : [words, words]);
const body = JSON.stringify({ prompt: "why?", upstream: "support", model: "m" });
const init = { method: "POST", body, headers: { "Content-Type": "application/json" } };
await fetch(`${process.argv[3]}/generations?user=alice`, init);
const { log } = console;
%(examples)s
log("{}");
"""


async def run_program(tmp_path: Path, url: str, public_url: str, source: str) -> Any:
    node = shutil.which("node")
    if node is None:
        missing("node")
    program = tmp_path / "program.mjs"
    program.write_text(source)
    process = await asyncio.create_subprocess_exec(
        *(node, str(program), url, public_url), stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(90):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output)


async def test_node(tmp_path: Path) -> None:
    """Requests and responses of posts are cut at random meanwhile."""
    rng = random.Random(1)

    def cut() -> None:
        if rng.random() < 0.15:
            raise Fault

    async with relayed() as (hub, relay, backend):
        relay.on_request = relay.on_response = cut
        url = backend._internal_url or ""
        source = PROGRAM % {"module": json.dumps(MODULE.as_uri())}
        results = await run_program(tmp_path, url, f"http://127.0.0.1:{hub.port}", source)
    record = results["parts"]
    assert (record["status"], record["text"], record["model"]) == ("done", "Hello", "agent")
    assert [part["value"] for part in record["parts"][:-1]] == [*range(60)]
    assert results["failed"] == "RangeError"
    assert results["failedRecord"]["code"] == "producer_error"
    assert "secret" not in str(results["failedRecord"])
    assert (results["stopped"], results["aborted"]) == ("GenerationStopped", "alice")
    assert results["stoppedRecord"]["status"] == "stopped"
    assert (results["silent"], results["silentBy"]) == ("GenerationStopped", "alice")
    assert (results["silentLost"], results["lost"]) == ("LeaseLost", "LeaseLost")
    assert results["second"] == [2, {"page": 2}, [{"type": "text", "text": "kept "}]]
    assert results["continued"]["text"] == "kept and new"
    assert results["input"] == ["approve", {"refund": "approve"}, "approve"]
    assert results["suspended"] == ["suspended", {"page": 2}, {"refund": "approve"}]
    assert results["messages"] == [[[0, "one", "alice"]], [[1, "two", "alice"]], []]
    assert (results["ended"], results["wrong"]) == ("ended", "TypeError")
    assert (results["worded"]["code"], results["worded"]["retryable"]) == ("out_of_stock", True)
    assert (results["job"]["text"], results["job"]["status"]) == ("why?", "done")
    assert [job["status"] for job in results["jobs"]] == ["done", "failed", "done"]
    assert [job["text"] for job in results["jobs"]] == ["answer to one", "", "answer to two"]
    assert "failed" in results["logged"]
    assert results["returned"] == [True, 2]


@pytest.mark.parametrize("page", ["clients/javascript.md", "guides/external-producers.md"])
async def test_examples_of_the_documents(tmp_path: Path, page: str) -> None:
    """They write an answer, and answer a user's question until the process is asked to end."""
    examples = "".join(
        block.code
        for block in find_blocks(DOCS / page)
        if block.language == "js" and block.test == "tests/client/test_backend_js.py"
    )
    for old, new in (
        ("http://localhost:8081", "${process.argv[2]}"),
        ('"${process.argv[2]}"', "process.argv[2]"),
        ('"@ssehub/client/backend"', json.dumps(MODULE.as_uri())),
        ("    return `You", '    process.emit("SIGTERM");\n    return `You'),
    ):
        examples = examples.replace(old, new)
    async with running_hub() as hub:
        internal, public = (f"http://127.0.0.1:{port}" for port in (hub.internal_port, hub.port))
        await run_program(tmp_path, internal, public, EXAMPLES % {"examples": examples})
        _, listed = await hub.call("GET", "/generations?user=alice&status=done")
        texts = []
        for each in listed["generations"]:
            _, record = await hub.call("GET", f"/generations/{each['generation']}?user=alice")
            texts.append(record["text"])
    assert "I have found 2 pages." in texts
    assert ("You asked: why?" in texts) is ("worker(" in examples)
