// The page: what is served and in which state, the question and its picture, and the conversation.
import { chatChunks, getJson } from "./stream.js";
import { curl, filesOf, python } from "./snippet.js";
import { AnswerTurn, userTurn } from "./turn.js";
import { otherLanguage, setLanguage, word } from "./words.js";

const $ = (id) => document.getElementById(id);
const READ_HERE = ["image/png", "image/jpeg", "image/webp", "image/gif"];      // the server decodes these
const LOOK_AGAIN = 1000, LOOK_SOMETIMES = 15000;                               // milliseconds

const chat = {
  model: "",
  messages: [],                         // as the API takes them: all earlier turns
  picture: null,                        // { url } of the next question, as a data: URL
  last: null,                           // the last picture that was sent: answers point into it
  running: null,                        // AbortController of the answer that is being written
};

function notice(text, bad = false) {
  $("notice").textContent = text;
  $("notice").classList.toggle("error", bad);
}

// ---- the key: in the tab's own storage, gone when the tab is closed ----

const key = () => sessionStorage.getItem("key") ?? "";
let asking = null;                      // one question for the key at a time, however many wait for it

// Asks for the key. Gives false if the person does not want to tell it.
function askForKey() {
  asking ??= new Promise((resolve) => {
    $("lock-text").textContent = word(key() ? "lockWrong" : "lockText");
    $("lock").returnValue = "";
    $("lock").addEventListener("close", () => {
      const given = $("lock").returnValue === "given";
      if (given) sessionStorage.setItem("key", $("key").value.trim());
      $("key").value = "";
      asking = null;
      resolve(given);
    }, { once: true });
    $("lock").showModal();
  });
  return asking;
}

// Runs what needs the key, again after each 401 for which the person gives another one.
async function withKey(work) {
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (error.status !== 401) throw error;
      if (!await askForKey()) throw Object.assign(new Error(word("noKey")), { status: 401 });
    }
  }
}

// ---- what is served ----

let state = "";

function showState() {
  if ($("state").textContent !== word(state)) $("state").textContent = word(state);
}

async function look() {
  try {
    state = (await getJson("live")).state;
  } catch {
    state = "gone";
  }
  showState();
  setTimeout(look, state === "ready" ? LOOK_SOMETIMES : LOOK_AGAIN);
}

async function learnModel() {
  if (chat.model) return;
  const list = await withKey(() => getJson("v1/models", key()));
  chat.model = list.data[0].id;
  $("model").textContent = chat.model;
  document.title = `${chat.model} – openautoglm`;
}

// ---- the picture of the question ----

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

// What the server does not decode but the browser does becomes a PNG.
async function asPng(blob) {
  const bitmap = await createImageBitmap(blob);
  const canvas = document.createElement("canvas");
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  return canvas.toDataURL("image/png");
}

function setPicture(url) {
  chat.picture = url ? { url } : null;
  $("chosen").hidden = !url;
  if (url) $("preview").src = url;
  else $("preview").removeAttribute("src");
}

async function takePicture(file) {
  if (!file) return;
  try {
    const url = READ_HERE.includes(file.type) ? await dataUrl(file) : await asPng(file);
    $("preview").src = url;
    await $("preview").decode();
    setPicture(url);
    notice("");
  } catch {
    setPicture(chat.picture?.url);
    notice(word("noPicture"), true);
  }
  $("question").focus();
}

function imageOf(transfer) {
  return [...(transfer?.files ?? [])].find((f) => f.type.startsWith("image/")) ?? transfer?.files?.[0];
}

// ---- asking ----

// The sampling options that were filled in; throws with the name of one that is not allowed.
function sampling() {
  const chosen = {};
  for (const name of ["temperature", "top_p", "max_tokens", "seed"]) {
    const field = $(name);
    if (!field.validity.valid) {
      $("options").open = true;
      field.focus();
      throw new Error(word("badNumber", word(name)));
    }
    if (field.value !== "") chosen[name] = Number(field.value);
  }
  return chosen;
}

function requestBody(message) {
  const system = $("system").value.trim();
  return {
    model: chat.model,
    messages: [...(system ? [{ role: "system", content: system }] : []), ...chat.messages, message],
    ...sampling(),
    stream: true,
    stream_options: { include_usage: true },
  };
}

// Browsers give the clipboard only to pages from https or this machine; elsewhere the older way may still work.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function copies(body) {
  const url = new URL("v1/chat/completions", document.baseURI).href;
  const files = filesOf(body).map((f) => f.file).join(", ");
  const button = (name, writer) => ({
    name,
    run: async () => {
      const done = await copy(writer(url, body, key() !== ""));
      notice(done ? word(files ? "copied" : "copiedText", files) : word("notCopied"), !done);
    },
  });
  return [button("copyCurl", curl), button("copyPython", python)];
}

function setRunning(running) {
  chat.running = running;
  $("send").hidden = running !== null;
  $("stop").hidden = running === null;
}

// Adds to the answer; a page that was scrolled to its end stays there.
function grow(answer, chunk) {
  const atEnd = window.innerHeight + window.scrollY > document.body.scrollHeight - 40;
  answer.add(chunk);
  if (atEnd) window.scrollTo(0, document.body.scrollHeight);
}

// Asks, and shows the answer as it comes. Gives what went wrong, or nothing. What was answered until the person stopped
// it stays in the conversation; a question without any answer does not. The conversation may be another one by then.
async function converse(running, body, answer) {
  const messages = chat.messages;
  let error = "";
  notice(word("working"));
  try {
    await withKey(async () => {
      for await (const chunk of chatChunks(body, key(), running.signal)) grow(answer, chunk);
    });
  } catch (e) {
    error = running.signal.aborted ? word("stopped") : e.message || word("broken");
  }
  if (answer.text || !error) messages.push(body.messages.at(-1), { role: "assistant", content: answer.text });
  await answer.end(error, copies(body)).catch(() => notice(word("noPicture"), true));
  if (chat.messages === messages) notice(error || word("answered"), error !== "");
  return error;
}

async function send() {
  const text = $("question").value.trim(), picture = chat.picture;
  if (chat.running) return;
  if (!text && !picture) {
    notice(word("empty"), true);
    return;
  }
  const words = text ? [{ type: "text", text }] : [];
  const content = picture ? [{ type: "image_url", image_url: { url: picture.url } }, ...words] : text;
  const running = new AbortController();
  let body;
  setRunning(running);
  try {
    await learnModel();
    body = requestBody({ role: "user", content });
  } catch (e) {
    setRunning(null);
    notice(e.message, true);
    return;
  }
  chat.last = picture ?? chat.last;
  const answer = new AnswerTurn(chat.last);
  $("hint").hidden = true;
  $("chat").append(userTurn(text, picture), answer.element);
  $("question").value = "";
  setPicture(null);
  window.scrollTo(0, document.body.scrollHeight);
  const error = await converse(running, body, answer);
  if (chat.running !== running) return;               // the person has begun another chat
  setRunning(null);
  if (error && !answer.text && !$("question").value && !chat.picture) {
    $("question").value = text;                       // to be sent again
    setPicture(picture?.url);
  }
  if (window.getSelection().isCollapsed) answer.element.scrollIntoView({ block: "nearest" });
}

function startAfresh() {
  chat.running?.abort();
  setRunning(null);
  chat.messages = [];
  chat.last = null;
  $("chat").replaceChildren();
  $("hint").hidden = false;
  setPicture(null);
  notice("");
  $("question").focus();
}

// ---- what the person does ----

function chooseLanguage(name) {
  setLanguage(name);
  $("language").textContent = word("other");
  $("language").lang = otherLanguage();
  if (state) showState();
}

function listen() {
  $("language").addEventListener("click", () => chooseLanguage(otherLanguage()));
  $("fresh").addEventListener("click", startAfresh);
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => { takePicture($("file").files[0]); $("file").value = ""; });
  $("remove").addEventListener("click", () => { setPicture(null); $("question").focus(); });
  $("stop").addEventListener("click", () => chat.running?.abort());
  $("ask").addEventListener("submit", (e) => { e.preventDefault(); send(); });
  $("question").addEventListener("keydown", (e) => {
    if (e.key !== "Enter" || e.shiftKey || e.isComposing) return;
    e.preventDefault();
    send();
  });
  document.addEventListener("keydown", (e) => { if (e.key === "Escape" && !$("lock").open) chat.running?.abort(); });
  document.addEventListener("paste", (e) => {
    if (!e.clipboardData?.files.length) return;
    e.preventDefault();
    takePicture(imageOf(e.clipboardData));
  });
  document.addEventListener("dragover", (e) => { e.preventDefault(); $("ask").classList.add("over"); });
  document.addEventListener("dragleave", () => $("ask").classList.remove("over"));
  document.addEventListener("drop", (e) => {
    e.preventDefault();
    $("ask").classList.remove("over");
    takePicture(imageOf(e.dataTransfer));
  });
  $("unlock").addEventListener("submit", (e) => { e.preventDefault(); $("lock").close("given"); });
  $("cancel").addEventListener("click", () => $("lock").close(""));
}

chooseLanguage();
listen();
look();
learnModel().catch((e) => notice(e.message, true));
