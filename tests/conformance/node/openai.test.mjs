// The stock npm `openai` client against a live LLMOS server. LLMOS_URL, LLMOS_KEY, LLMOS_CHAT and LLMOS_EMBEDDER say which.
import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";

const { LLMOS_URL, LLMOS_KEY, LLMOS_CHAT: model, LLMOS_EMBEDDER: embedder } = process.env;
const client = new OpenAI({ baseURL: `${LLMOS_URL}/v1`, apiKey: LLMOS_KEY, maxRetries: 0, timeout: 120_000 });
const messages = [{ role: "user", content: "Say hello." }];
const headers = { authorization: `Bearer ${LLMOS_KEY}` };

const sleep = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

async function idle() {
  for (let turn = 0; turn < 400; turn += 1) {
    const { loaded } = await (await fetch(`${LLMOS_URL}/api/v1/loaded`, { headers })).json();
    if (loaded.every((one) => one.running === 0)) return true;
    await sleep(50);
  }
  return false;
}

test("models", async () => {
  const names = [];
  for await (const one of client.models.list()) names.push(one.id);
  assert.ok(names.includes(model) && names.includes(embedder));
});

test("chat, whole and streamed", async () => {
  const ask = { model, messages, temperature: 0, max_tokens: 24 };
  const whole = await client.chat.completions.create(ask);
  assert.ok(whole.choices[0].message.content.length > 5);
  const stream = await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } });
  let text = "";
  let usage = null;
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.ok(text.length > 5);
  assert.equal(usage.prompt_tokens, whole.usage.prompt_tokens);
});

test("a stream gives the same text", async () => {
  const ask = { model, prompt: "1, 2, 3, 4,", temperature: 0, max_tokens: 12 };
  const whole = await client.completions.create(ask);
  let text = "";
  for await (const chunk of await client.completions.create({ ...ask, stream: true })) text += chunk.choices[0].text;
  assert.equal(text, whole.choices[0].text);
});

test("n, seed and logprobs", async () => {
  const ask = () => client.completions.create({ model, prompt: "Once", n: 2, seed: 5, temperature: 1, max_tokens: 8 });
  const [one, two] = [await ask(), await ask()];
  assert.equal(one.choices.length, 2);
  assert.deepEqual(one.choices.map((choice) => choice.text), two.choices.map((choice) => choice.text));
  const chat = await client.chat.completions.create({ model, messages, max_tokens: 4, logprobs: true, top_logprobs: 2 });
  assert.ok(chat.choices[0].logprobs.content.every((entry) => entry.top_logprobs.length === 2 && entry.logprob <= 0));
});

test("JSON schema", async () => {
  const schema = {
    type: "object",
    properties: { city: { type: "string", maxLength: 12 } },
    required: ["city"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.create({
    model, messages: [{ role: "user", content: "Name a city." }], temperature: 0, max_tokens: 60,
    response_format: { type: "json_schema", json_schema: { name: "place", strict: true, schema } },
  });
  assert.equal(typeof JSON.parse(answer.choices[0].message.content).city, "string");
});

test("completions echo with logprobs", async () => {
  const answer = await client.completions.create({ model, prompt: "The sky is", echo: true, logprobs: 1, max_tokens: 0 });
  assert.equal(answer.choices[0].text, "The sky is");
  assert.equal(answer.choices[0].logprobs.token_logprobs[0], null);
});

test("embeddings", async () => {
  const { data } = await client.embeddings.create({ model: embedder, input: ["a cat", "a kitten", "the stock exchange"] });
  const dot = (a, b) => a.reduce((sum, value, place) => sum + value * b[place], 0);
  const [cat, kitten, stock] = data.map((item) => Array.from(item.embedding));
  assert.ok(dot(cat, kitten) > dot(cat, stock) + 0.2);
});

test("responses", async () => {
  const ask = { model, input: "Say hello.", temperature: 0, max_output_tokens: 200 };
  assert.ok((await client.responses.create(ask)).output_text.length > 0);
  let text = "";
  let last = null;
  for await (const event of await client.responses.create({ ...ask, stream: true })) {
    if (event.type === "response.output_text.delta") text += event.delta;
    last = event;
  }
  assert.equal(last.type, "response.completed");
  assert.equal(text, last.response.output[0].content[0].text);
});

test("errors name the field", async () => {
  await assert.rejects(client.chat.completions.create({ model, messages, temperature: 3 }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.equal(error.param, "temperature");
    assert.ok(error.requestID);
    return true;
  });
  await assert.rejects(client.chat.completions.create({ model: "no-such", messages }), OpenAI.NotFoundError);
  const tools = [{ type: "function", function: { name: "f", parameters: { type: "object" } } }];
  await assert.rejects(client.chat.completions.create({ model, messages, tools }), (error) => error.param === "tools");
  const stranger = new OpenAI({ baseURL: `${LLMOS_URL}/v1`, apiKey: "wrong", maxRetries: 0 });
  await assert.rejects(stranger.models.list(), OpenAI.AuthenticationError);
});

test("a time-out and a closed stream free the engine", async () => {
  const long = { model, prompt: "Once", max_tokens: 1500, ignore_eos: true };
  await assert.rejects(client.completions.create(long, { timeout: 500 }), OpenAI.APIConnectionTimeoutError);
  assert.ok(await idle());
  const stream = await client.completions.create({ ...long, stream: true });
  for await (const chunk of stream) {
    assert.ok(chunk.choices);
    break;
  }
  stream.controller.abort();
  assert.ok(await idle());
});

test("files and batches", async () => {
  const url = "/v1/completions";
  const line = (name) => JSON.stringify({ custom_id: name, method: "POST", url, body: { model, prompt: "1, 2, 3, 4,", max_tokens: 4 } });
  const text = ["a", "b", "c"].map(line).join("\n");
  const file = await client.files.create({ file: await OpenAI.toFile(Buffer.from(text), "in.jsonl"), purpose: "batch" });
  assert.equal(file.bytes, Buffer.byteLength(text));
  assert.equal(await (await client.files.content(file.id)).text(), text);
  let batch = await client.batches.create({ input_file_id: file.id, endpoint: url, completion_window: "24h", metadata: { from: "node" } });
  assert.equal(batch.status, "validating");
  for (let turn = 0; turn < 600 && !["completed", "failed"].includes(batch.status); turn += 1) {
    await sleep(200);
    batch = await client.batches.retrieve(batch.id);
  }
  assert.deepEqual([batch.status, batch.request_counts], ["completed", { total: 3, completed: 3, failed: 0 }]);
  const made = (await (await client.files.content(batch.output_file_id)).text()).trim().split("\n").map((one) => JSON.parse(one));
  assert.deepEqual(made.map((one) => one.custom_id), ["a", "b", "c"]);
  const listed = [];
  for await (const one of client.batches.list({ limit: 1 })) listed.push(one.id);
  assert.equal(listed[0], batch.id);
  assert.equal((await client.files.delete(file.id)).deleted, true);
});
