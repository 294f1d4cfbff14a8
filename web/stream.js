// Server-sent events of a chat: sends the request and hands on each event as it comes.

// What the server answered instead of a stream: its status and its words.
export class Refusal extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

function headers(key) {
  return key ? { "Content-Type": "application/json", Authorization: `Bearer ${key}` }
             : { "Content-Type": "application/json" };
}

async function refusal(response) {
  let message = `${response.status} ${response.statusText}`;
  try { message = (await response.json()).error.message; } catch { /* not the server's own words: a proxy's */ }
  return new Refusal(response.status, message);
}

export async function getJson(path, key) {
  const response = await fetch(path, { headers: headers(key), cache: "no-store" });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

// The data of one event: its lines that begin with "data:". Comments, which keep the connection alive, have none.
function dataOf(event) {
  return event.split("\n").filter((line) => line.startsWith("data:"))
    .map((line) => line.slice(5).replace(/^ /, "")).join("\n");
}

// Yields the chunks of the answer; throws a Refusal, also for an error within the stream. `complete` of the last
// value tells whether the server said that this was all.
export async function* chatChunks(body, key, signal) {
  const response = await fetch("v1/chat/completions",
    { method: "POST", headers: headers(key), body: JSON.stringify(body), signal });
  if (!response.ok) throw await refusal(response);
  const reader = response.body.getReader();
  const decoder = new TextDecoder();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refusal(0, "");
    rest += decoder.decode(value, { stream: true });
    const events = rest.split("\n\n");
    rest = events.pop();
    for (const event of events) {
      const data = dataOf(event);
      if (data === "[DONE]") return;
      if (!data) continue;
      const chunk = JSON.parse(data);
      if (chunk.error) throw new Refusal(500, chunk.error.message);
      yield chunk;
    }
  }
}
