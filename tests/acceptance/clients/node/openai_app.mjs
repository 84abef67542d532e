// The official `openai` package for Node against a node of ours. Prints one JSON object: what it was answered.
import OpenAI from "openai";

const [url, MODEL, EMBEDDER, ENGINE, PROMPT] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "unused", maxRetries: 0, timeout: 60_000 });
const TOOL = {
  name: "get_weather",
  description: "Say the weather of a city.",
  parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
};
const asked = { model: MODEL, messages: [{ role: "user", content: PROMPT }], temperature: 0, max_tokens: 16 };
const weather = [{ role: "user", content: "What is the weather in Paris?" }];

const steps = {
  async chat() {
    const answer = await client.chat.completions.create(asked);
    return { text: answer.choices[0].message.content, tokens: answer.usage.completion_tokens };
  },
  async stream() {
    let text = "", pieces = 0, tokens = 0;
    for await (const chunk of await client.chat.completions.create({
      ...asked, stream: true, stream_options: { include_usage: true },
    })) {
      pieces += 1;
      text += chunk.choices[0]?.delta?.content ?? "";
      tokens = chunk.usage?.completion_tokens ?? tokens;
    }
    return { text, tokens, pieces };
  },
  async tools() {
    const tools = [{ type: "function", function: TOOL }];
    const answer = await client.chat.completions.create({ model: ENGINE, messages: weather, tools });
    const call = answer.choices[0].message.tool_calls[0];
    const after = await client.chat.completions.create({
      model: ENGINE, tools,
      messages: [...weather, answer.choices[0].message, { role: "tool", tool_call_id: call.id, content: "sunny" }],
    });
    return { name: call.function.name, arguments: call.function.arguments, after: after.choices[0].message.content };
  },
  async tools_of_the_model() {
    const chosen = {
      model: MODEL, messages: weather, tools: [{ type: "function", function: TOOL }], tool_choice: "required",
      temperature: 0, max_tokens: 60,
    };
    const call = (await client.chat.completions.create(chosen)).choices[0].message.tool_calls[0].function;
    const streamed = await client.chat.completions.stream(chosen).finalChatCompletion();
    const again = streamed.choices[0].message.tool_calls[0].function;
    return [call, again].map((one) => [one.name, one.arguments]);
  },
  async tools_streamed() {
    const tools = [{ type: "function", function: TOOL }];
    const answer = await client.chat.completions.stream({ model: ENGINE, messages: weather, tools }).finalChatCompletion();
    const call = answer.choices[0].message.tool_calls[0];
    return { name: call.function.name, arguments: call.function.arguments };
  },
  async responses() {
    const answer = await client.responses.create({ model: MODEL, input: PROMPT, temperature: 0, max_output_tokens: 16 });
    return { text: answer.output_text, tokens: answer.usage.output_tokens };
  },
  async responses_streamed() {
    const events = client.responses.stream({ model: MODEL, input: PROMPT, temperature: 0, max_output_tokens: 16 });
    const kinds = [];
    for await (const event of events) kinds.push(event.type);
    return { text: (await events.finalResponse()).output_text, first: kinds[0], last: kinds.at(-1) };
  },
  async responses_tools() {
    const answer = await client.responses.create({
      model: ENGINE, input: "What is the weather in Paris?", tools: [{ type: "function", ...TOOL, strict: false }],
    });
    return { name: answer.output[0].name, arguments: answer.output[0].arguments };
  },
  async embeddings() {
    const answer = await client.embeddings.create({ model: EMBEDDER, input: ["one", "two", "one"] });
    return answer.data.map((each) => each.embedding);
  },
  async errors() {
    const found = {};
    const wrong = {
      "unknown model": { ...asked, model: "nobody-has-this" },
      "wrong type": { ...asked, messages: "hello" },
      engine: { ...asked, model: ENGINE, seed: 429 },
    };
    for (const [name, fields] of Object.entries(wrong)) {
      try {
        await client.chat.completions.create(fields);
      } catch (error) {
        found[name] = { class: error.constructor.name, status: error.status, code: error.code };
      }
    }
    return found;
  },
};

const seen = {};
for (const [name, step] of Object.entries(steps)) seen[name] = await step();
console.log(JSON.stringify(seen));
