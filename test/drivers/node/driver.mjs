// Drives OpenAI's Node SDK for a test: a command a line in, answers out.
//
// Commands and answers are described in ../driver.go.

import readline from 'node:readline';
import OpenAI from 'openai';

const clients = new Map();

const client = ({ base_url, key, retries }) => {
  const name = `${base_url} ${key} ${retries}`;
  if (!clients.has(name)) clients.set(name, new OpenAI({ baseURL: base_url, apiKey: key, maxRetries: retries }));
  return clients.get(name);
};

const say = (answer) => console.log(JSON.stringify(answer));

const whole = (answer) => ({ value: answer, request_id: answer._request_id ?? '' });

// Node's SDK has no place of its own for what is beyond the API.
const given = (command) => ({ ...command.params, ...command.extra });

// Reads a stream by plain iteration, or leaves it where the command says so.
async function read(stream, command, textOf) {
  const chunks = [];
  let texts = 0;
  for await (const chunk of stream) {
    chunks.push(chunk);
    if (!textOf(chunk)) continue;
    texts += 1;
    if (texts === 1) say({ began: true });
    if (texts === command.leave_after) break; // which closes it
  }
  return { chunks };
}

const ways = {
  async chat(api, command) {
    return whole(await api.chat.completions.create(given(command)));
  },

  async chat_stream(api, command) {
    const stream = await api.chat.completions.create({ stream: true, ...given(command) });
    return read(stream, command, (chunk) => chunk.choices[0]?.delta?.content);
  },

  async chat_helper(api, command) {
    const stream = api.chat.completions.stream(given(command));
    let began = false;
    stream.on('content', (delta) => {
      if (delta && !began) say({ began: true });
      began ||= Boolean(delta);
    });
    return { value: await stream.finalChatCompletion() };
  },

  async completion(api, command) {
    return whole(await api.completions.create(given(command)));
  },

  async response_stream(api, command) {
    const stream = await api.responses.create({ stream: true, ...given(command) });
    return read(stream, command, (event) => event.type === 'response.output_text.delta');
  },

  async models(api) {
    const data = [];
    for await (const model of api.models.list()) data.push(model);
    return { value: { data } };
  },

  async model(api, command) {
    return whole(await api.models.retrieve(command.params.model));
  },

  async embedding(api, command) {
    return whole(await api.embeddings.create(given(command)));
  },
};

const described = (error) => ({
  class: error.constructor.name,
  foreign: !(error instanceof OpenAI.OpenAIError),
  status: error.status ?? 0,
  code: error.code ?? '',
  type: error.type ?? '',
  message: error.message,
});

for await (const line of readline.createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    say(await ways[command.do](client(command), command));
  } catch (error) {
    say({ error: described(error), request_id: error.requestID ?? '' });
  }
}
