// Drives OpenAI's Node SDK for a test: a command a line in, answers out.
//
// The commands and answers are those of ../python/driver.py.

import readline from 'node:readline';
import OpenAI from 'openai';

const client = new OpenAI();

const say = (answer) => console.log(JSON.stringify(answer));

const question = (command) => ({
  model: command.model,
  messages: [
    {
      role: 'user',
      content: [
        { type: 'text', text: command.prompt },
        { type: 'image_url', image_url: { url: command.image } },
      ],
    },
  ],
});

const ways = {
  async whole(command) {
    const answer = await client.chat.completions.create(question(command));
    return answer.choices[0].message.content;
  },

  // Reads a stream by plain iteration.
  async plain(command) {
    let text = '';
    for await (const chunk of await client.chat.completions.create({ stream: true, ...question(command) })) {
      const delta = chunk.choices[0]?.delta?.content;
      if (delta && !text) say({ began: true });
      text += delta ?? '';
    }
    return text;
  },

  // Reads a stream by the SDK's .stream() helper.
  async helper(command) {
    const stream = client.chat.completions.stream(question(command));
    let began = false;
    stream.on('content', (delta) => {
      if (delta && !began) say({ began: true });
      began ||= Boolean(delta);
    });
    const answer = await stream.finalChatCompletion();
    return answer.choices[0].message.content;
  },

  async models() {
    const ids = [];
    for await (const model of client.models.list()) ids.push(model.id);
    return ids.join('\n');
  },

  async badkey() {
    const other = new OpenAI({ apiKey: client.apiKey.slice(0, -1) + '~' });
    return (await other.models.list()).data[0].id;
  },
};

for await (const line of readline.createInterface({ input: process.stdin })) {
  const command = JSON.parse(line);
  try {
    say({ text: await ways[command.do](command) });
  } catch (error) {
    const foreign = error instanceof OpenAI.OpenAIError ? '' : 'foreign ';
    say({ error: foreign + error.constructor.name, message: error.message });
  }
}
