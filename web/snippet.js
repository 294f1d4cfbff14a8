// A request as a command of the shell and as a program in Python. Pictures are left out: both read them from files.

const KINDS = { "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif" };

// The files that a request's pictures are to be read from: [{ url, kind, file }], in the order of the messages.
export function filesOf(body) {
  const parts = body.messages.flatMap((m) => (Array.isArray(m.content) ? m.content : []));
  const urls = parts.filter((p) => p.type === "image_url").map((p) => p.image_url.url);
  return [...new Set(urls)].map((url, i, all) => {
    const kind = url.slice(5, url.indexOf(";"));
    return { url, kind, file: `screenshot${all.length > 1 ? i + 1 : ""}.${KINDS[kind] || "png"}` };
  });
}

// A value as JSON with lines of its own, where `text` writes the strings.
function write(value, text, pad = "") {
  const deeper = pad + "  ";
  const list = (open, items, close) => `${open}\n${items.map((i) => deeper + i).join(",\n")}\n${pad}${close}`;
  if (typeof value === "string") return text(value);
  if (Array.isArray(value)) return list("[", value.map((v) => write(v, text, deeper)), "]");
  if (value && typeof value === "object")
    return list("{", Object.entries(value).map(([k, v]) => `${JSON.stringify(k)}: ${write(v, text, deeper)}`), "}");
  return JSON.stringify(value);
}

// The JSON stands in a here-document, in which the shell replaces $(...) by a picture; what it would replace elsewhere
// is escaped. The key comes from the environment, so that it does not lie in the shell's history.
export function curl(url, body, withKey) {
  const files = filesOf(body);
  const text = (s) => {
    const f = files.find((one) => one.url === s);
    return f ? `"data:${f.kind};base64,$(base64 < ${f.file} | tr -d '\\n')"`
             : JSON.stringify(s).replace(/[\\$`]/g, "\\$&");
  };
  const key = withKey ? ` \\\n  -H "Authorization: Bearer $OPENAUTOGLM_API_KEY"` : "";
  return `curl -N '${url.replaceAll("'", "%27")}' \\\n  -H 'Content-Type: application/json'${key} \\\n` +
         `  --data-binary @- <<END_OF_REQUEST\n${write(body, text)}\nEND_OF_REQUEST\n`;
}

// For the openai package. Strings of JSON are strings of Python, too.
export function python(url, body, withKey) {
  const files = filesOf(body);
  const text = (s) => {
    const f = files.find((one) => one.url === s);
    return f ? `picture("${f.file}", "${f.kind}")` : JSON.stringify(s);
  };
  const { messages, model, stream, stream_options: ignored, ...rest } = body;
  const options = Object.entries(rest).map(([k, v]) => `    ${k}=${write(v, text)},\n`).join("");
  const helper = files.length === 0 ? "" : `
def picture(path, kind):
    with open(path, "rb") as f:
        return f"data:{kind};base64," + base64.b64encode(f.read()).decode()

`;
  return (files.length ? "import base64\n" : "") + (withKey ? "import os\n" : "") + `
from openai import OpenAI

${helper}client = OpenAI(base_url=${JSON.stringify(url.replace(/\/chat\/completions$/, ""))}, ` +
    `api_key=${withKey ? `os.environ["OPENAUTOGLM_API_KEY"]` : `"EMPTY"`})
stream = client.chat.completions.create(
    model=${JSON.stringify(model)},
    messages=${write(messages, text, "    ")},
${options}    stream=True,
)
for chunk in stream:
    if chunk.choices:
        print(chunk.choices[0].delta.content or "", end="", flush=True)
print()
`;
}
