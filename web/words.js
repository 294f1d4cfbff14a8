// Every word that the page shows, in each language. A value with {0}, {1} has places for what is filled in.
const languages = {
  en: {
    tag: "en", other: "中文", fresh: "New chat", chat: "Conversation", ask: "Ask", question: "Question",
    example: "Enter sends, Shift and Enter begin a new line",
    hint: "Drop, paste or choose a screenshot and ask about it, for example: Tap “Camera”.",
    choose: "Choose picture", remove: "Remove picture", preview: "The picture to be sent",
    sent: "The picture of this question", send: "Send", stop: "Stop", options: "Options", usual: "the server’s",
    temperature: "Temperature", top_p: "Top p", max_tokens: "Most tokens", seed: "Seed", system: "System message",
    lockTitle: "This server asks for a key", lockText: "The key is kept until this tab is closed.",
    lockWrong: "The server did not take this key.", key: "API key", cancel: "Cancel", unlock: "Use key",
    user: "You", assistant: "Model", thoughts: "Thoughts", loading: "The model is being loaded", ready: "Ready",
    draining: "The server is stopping", gone: "The server does not answer", working: "Answering …",
    answered: "Answered", stopped: "Stopped", empty: "Write a question or choose a picture first.",
    noPicture: "This file cannot be read as a picture.", badNumber: "“{0}” in the options is not allowed.",
    noKey: "Without a key the server does not answer.", broken: "The answer broke off.",
    copyCurl: "Copy as curl", copyPython: "Copy as Python", copied: "Copied. The picture is to lie beside it as {0}.",
    copiedText: "Copied.", notCopied: "The browser does not allow copying.",
    points: "{0} at {1}", swipes: "{0} from {1} to {2}", pixel: "pixel {0}, {1}", marked: "The picture with the mark: {0}",
    figures: "{0} tokens in {1} s", speed: "{0} tokens/s", prompt: "Prompt, tokens", image: "of pictures",
    cached: "of the cache", answer: "Answer, tokens", first: "First word after", queue: "Waited",
    decodePicture: "Picture decoded", resize: "Picture resized", encode: "Picture encoded", prefill: "Prompt read",
    decode: "Answer written", finish: "Ended by",
  },
  zh: {
    tag: "zh-CN", other: "English", fresh: "新对话", chat: "对话", ask: "提问", question: "问题",
    example: "按 Enter 发送,按 Shift + Enter 换行",
    hint: "拖入、粘贴或选择一张截图,然后提问,例如:点击“相机”。",
    choose: "选择图片", remove: "移除图片", preview: "将要发送的图片",
    sent: "这个问题的图片", send: "发送", stop: "停止", options: "选项", usual: "服务器默认",
    temperature: "温度", top_p: "Top p", max_tokens: "最多词元数", seed: "随机种子", system: "系统消息",
    lockTitle: "服务器需要密钥", lockText: "密钥只保留到此标签页关闭。",
    lockWrong: "服务器不接受这个密钥。", key: "API 密钥", cancel: "取消", unlock: "使用密钥",
    user: "你", assistant: "模型", thoughts: "思考", loading: "模型正在加载", ready: "就绪",
    draining: "服务器正在停止", gone: "服务器没有响应", working: "正在回答…",
    answered: "回答完毕", stopped: "已停止", empty: "请先输入问题或选择图片。",
    noPicture: "无法将此文件作为图片读取。", badNumber: "选项“{0}”的值无效。",
    noKey: "没有密钥,服务器不会回答。", broken: "回答中断了。",
    copyCurl: "复制为 curl", copyPython: "复制为 Python", copied: "已复制。请把图片存为同目录下的 {0}。",
    copiedText: "已复制。", notCopied: "浏览器不允许复制。",
    points: "{0}:{1}", swipes: "{0}:从 {1} 到 {2}", pixel: "像素 {0}, {1}", marked: "带标记的图片:{0}",
    figures: "{0} 个词元,{1} 秒", speed: "{0} 词元/秒", prompt: "提示词元", image: "其中图片",
    cached: "其中缓存", answer: "回答词元", first: "首个词用时", queue: "等待",
    decodePicture: "图片解码", resize: "图片缩放", encode: "图片编码", prefill: "读取提示",
    decode: "生成回答", finish: "结束原因",
  },
};

const KEPT = "openautoglm-language";
let now = languages.en;

// A browser may forbid storage; then the choice lasts as long as the page.
function kept() {
  try { return localStorage.getItem(KEPT); } catch { return null; }
}

// The text of that name, with the values in its places.
export function word(name, ...values) {
  return now[name].replace(/\{(\d)\}/g, (place, i) => values[i]);
}

// Fills the texts of all elements below `root` that name one in a data- attribute.
export function fillWords(root) {
  for (const e of root.querySelectorAll("[data-word]")) e.textContent = word(e.dataset.word);
  for (const e of root.querySelectorAll("[data-label]")) e.setAttribute("aria-label", word(e.dataset.label));
  for (const e of root.querySelectorAll("[data-alt]")) e.alt = word(e.dataset.alt);
  for (const e of root.querySelectorAll("[data-hint]")) e.placeholder = word(e.dataset.hint);
}

// "en" or "zh"; without a name the one that was chosen before, or that the browser asks for.
export function setLanguage(name) {
  if (name) {
    try { localStorage.setItem(KEPT, name); } catch { /* lasts as long as the page */ }
  }
  const wanted = name || kept() || navigator.language.slice(0, 2);
  now = languages[wanted] || languages.en;
  document.documentElement.lang = now.tag;
  fillWords(document);
}

export function otherLanguage() {
  return now === languages.en ? "zh" : "en";
}
