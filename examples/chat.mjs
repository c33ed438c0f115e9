// A question, its answer, and an answer as it is generated, with OpenAI's JavaScript client: npm install openai

import OpenAI from "openai";

const model = process.env.MODEL;
const client = new OpenAI({ baseURL: process.env.OPENAI_BASE_URL }); // the key comes from OPENAI_API_KEY

const answer = await client.chat.completions.create({
  model,
  messages: [
    { role: "system", content: "You answer in one sentence." },
    { role: "user", content: "How does quicksort work?" },
  ],
});
console.log(answer.choices[0].message.content);
console.log(`(${answer.usage.prompt_tokens} tokens in, ${answer.usage.completion_tokens} out)`);

const chunks = await client.chat.completions.create({
  model,
  messages: [{ role: "user", content: "A haiku about servers, please." }],
  stream: true,
  stream_options: { include_usage: true },
});
for await (const chunk of chunks) {
  // The last chunk has the usage and no choice.
  process.stdout.write(chunk.choices[0]?.delta?.content ?? "");
  if (chunk.usage) console.log(`\n(${chunk.usage.completion_tokens} tokens)`);
}
