// Opens YAML files in yaml-language-server, the back end of the editors, and prints what it says of each.
//
//     ask.mjs SERVER FILE…        one JSON object: each file with the line, column and words of its diagnostics,
//                                 and what is offered for completion at the end of its line `# complete: LINE:COLUMN`
//
// Every answer is waited for at most 30 s in all.
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [server, ...files] = process.argv.slice(2);
const child = spawn(process.execPath, [server, "--stdio"], { stdio: ["pipe", "pipe", "inherit"] });
const deadline = setTimeout(() => stop("no answer within 30 s"), 30_000);

function stop(why) {
  child.kill();
  if (why) console.error(why);
  process.exitCode = why ? 1 : 0;
  clearTimeout(deadline);
}

let nextId = 0;
const asked = new Map();
const said = new Map();

function send(message) {
  const body = JSON.stringify({ jsonrpc: "2.0", ...message });
  child.stdin.write(`Content-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
}

function ask(method, params) {
  const id = nextId++;
  send({ id, method, params });
  return new Promise((resolve, reject) => asked.set(id, { resolve, reject }));
}

const settings = { yaml: { validate: true, completion: true, schemaStore: { enable: false }, kubernetesCRDStore: { enable: false } } };

function take(message) {
  if (message.method === "workspace/configuration") {
    return send({ id: message.id, result: message.params.items.map((item) => settings[item.section] ?? null) });
  }
  if (message.method === "textDocument/publishDiagnostics") {
    return said.get(message.params.uri)?.(message.params.diagnostics);
  }
  if (message.method && message.id !== undefined) return send({ id: message.id, result: null });
  const waiting = asked.get(message.id);
  asked.delete(message.id);
  if (message.error) waiting?.reject(new Error(JSON.stringify(message.error)));
  else waiting?.resolve(message.result);
}

let rest = Buffer.alloc(0);
child.stdout.on("data", (data) => {
  rest = Buffer.concat([rest, data]);
  for (;;) {
    const end = rest.indexOf("\r\n\r\n");
    if (end < 0) return;
    const length = Number(/content-length: *(\d+)/i.exec(rest.subarray(0, end).toString())[1]);
    if (rest.length < end + 4 + length) return;
    const body = rest.subarray(end + 4, end + 4 + length).toString();
    rest = rest.subarray(end + 4 + length);
    take(JSON.parse(body));
  }
});
child.on("exit", (code) => code && stop(`the language server ended with ${code}`));

async function look(file) {
  const uri = pathToFileURL(file).href;
  const text = readFileSync(file, "utf8");
  const diagnostics = await new Promise((resolve) => {
    said.set(uri, resolve);
    send({ method: "textDocument/didOpen", params: { textDocument: { uri, languageId: "yaml", version: 1, text } } });
  });
  const at = /^# complete: (\d+):(\d+)$/m.exec(text);
  const offered = at
    ? await ask("textDocument/completion", { textDocument: { uri }, position: { line: Number(at[1]) - 1, character: Number(at[2]) - 1 } })
    : [];
  return {
    diagnostics: diagnostics.map(({ range, message }) => `${range.start.line + 1}:${range.start.character + 1}: ${message}`),
    completions: (offered?.items ?? offered ?? []).map((item) => item.label),
  };
}

try {
  await ask("initialize", {
    processId: process.pid,
    rootUri: null,
    capabilities: { workspace: { configuration: true }, textDocument: { completion: {} } },
  });
  send({ method: "initialized", params: {} });
  send({ method: "workspace/didChangeConfiguration", params: { settings } });
  const answers = {};
  for (const file of files) answers[file] = await look(file);
  console.log(JSON.stringify(answers));
  stop();
} catch (error) {
  stop(String(error));
}
