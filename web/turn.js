// One turn of the conversation as elements of the page. What the model or the server wrote becomes text and never
// markup: it is only ever assigned to textContent or to the data of a text node.
import { actionsOf, marks } from "./action.js";
import { word } from "./words.js";

function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}

function article(role) {
  const turn = make("article", `turn ${role}`);
  const title = make("h2", "", word(role));
  title.dataset.word = role;
  turn.append(title);
  return turn;
}

// What the person asked: text, and the picture (or null) as { url }.
export function userTurn(text, picture) {
  const turn = article("user");
  if (text) turn.append(make("p", "", text));
  if (picture) {
    const image = make("img");
    image.src = picture.url;
    image.dataset.alt = "sent";
    image.alt = word("sent");
    turn.append(image);
  }
  return turn;
}

// "Tap at (923, 542) = pixel 997, 1301"
function inWords(action, width, height) {
  const places = action.points.map(([x, y]) =>
    `(${x}, ${y}) = ${word("pixel", Math.round(x / 1000 * width), Math.round(y / 1000 * height))}`);
  return word(places.length > 1 ? "swipes" : "points", action.name, ...places);
}

// The picture with the actions of the answer drawn on it, and what they are in words.
async function markedPicture(picture, actions) {
  const figure = make("figure"), frame = make("div", "marked"), image = make("img");
  image.src = picture.url;
  await image.decode();
  const [width, height] = [image.naturalWidth, image.naturalHeight];
  const said = actions.map((a) => inWords(a, width, height)).join("; ");
  image.alt = word("marked", said);
  frame.append(image, marks(actions, width, height));
  figure.append(frame, make("figcaption", "", said));
  return figure;
}

const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;

// Tokens and times, as one line that opens into a list. `seen` has what was measured here, in seconds.
function figures(usage, timings, finish, seen) {
  const box = make("details"), list = make("dl");
  const row = (name, value) => list.append(make("dt", "", word(name)), make("dd", "", value));
  let line = word("figures", usage.completion_tokens, seen.all.toFixed(2));
  if (timings?.predicted_per_second) line += ` · ${word("speed", timings.predicted_per_second.toFixed(1))}`;
  row("prompt", usage.prompt_tokens);
  row("image", usage.prompt_tokens_details?.image_tokens ?? 0);
  row("cached", usage.prompt_tokens_details?.cached_tokens ?? 0);
  row("answer", usage.completion_tokens);
  if (seen.first) row("first", ms(seen.first * 1e3));
  const times = { queue: "queue_ms", decodePicture: "image_decode_ms", resize: "image_resize_ms",
                  encode: "image_encode_ms", prefill: "prefill_ms", decode: "decode_ms" };
  for (const [name, key] of Object.entries(times))
    if (typeof timings?.[key] === "number") row(name, ms(timings[key]));
  if (finish) row("finish", finish);
  box.append(make("summary", "", line), list);
  return box;
}

// The answer while it is written. Screen readers are told when it is whole (aria-busy), and then read it once.
export class AnswerTurn {
  constructor(picture) {
    this.picture = picture;             // the last one of the conversation, or null
    this.text = "";
    this.began = performance.now();
    this.element = article("assistant");
    this.element.setAttribute("aria-busy", "true");
    this.body = make("p", "text");
    this.words = document.createTextNode("");
    this.body.append(this.words);
    this.element.append(this.body);
  }

  add(chunk) {
    const choice = chunk.choices?.[0];
    if (choice?.finish_reason) this.finish = choice.finish_reason;
    if (chunk.usage) this.usage = chunk.usage;
    if (chunk.timings) this.timings = chunk.timings;
    const { content, reasoning } = choice?.delta ?? {};
    if ((content || reasoning) && !this.first) this.first = (performance.now() - this.began) / 1e3;
    if (reasoning) this.think(reasoning);
    if (content) {
      this.text += content;
      this.words.appendData(content);
    }
  }

  think(text) {
    if (!this.thoughts) {
      const box = make("details");
      this.thoughts = make("p");
      box.append(make("summary", "", word("thoughts")), this.thoughts);
      this.body.before(box);
    }
    this.thoughts.append(text);
  }

  // The answer is whole, or `error` tells why not. `copies` are buttons: [{ name, run }].
  async end(error, copies) {
    const seen = { all: (performance.now() - this.began) / 1e3, first: this.first };
    if (error) this.element.append(make("p", "error", error));
    const actions = this.picture ? actionsOf(this.text) : [];
    if (actions.length > 0) this.element.append(await markedPicture(this.picture, actions));
    if (this.usage) this.element.append(figures(this.usage, this.timings, this.finish, seen));
    const row = make("div", "row");
    for (const { name, run } of copies) {
      const button = make("button", "", word(name));
      button.type = "button";
      button.dataset.word = name;
      button.addEventListener("click", run);
      row.append(button);
    }
    this.element.append(row);
    this.element.setAttribute("aria-busy", "false");
  }
}
