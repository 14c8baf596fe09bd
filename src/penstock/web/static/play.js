// One question, one run, three readers: an EventSource, a WebSocket and a fetch body, each over the browser's own means.

const $ = (id) => document.getElementById(id);
const base = new URL('.', document.baseURI);
const at = (path) => new URL(path, base);

let source, socket, fetching, stream;

class Column {
  constructor(name) {
    this.out = $(name);
    this.line = $(`${name}-status`);
    this.out.textContent = '';
  }
  say(text) {
    const following = this.out.scrollTop + this.out.clientHeight >= this.out.scrollHeight - 40;
    this.out.append(text);
    if (following) this.out.scrollTop = this.out.scrollHeight;
  }
  status(text) { this.line.textContent = text; }
}

// What a person reads of native events: the text parts, a blank line between them.
class Words {
  constructor(column) { this.column = column; this.shown = new Set(); this.said = false; this.fresh = new Set(); }
  take(event) {
    if (event.type === 'opened' && event.kind === 'text') { this.shown.add(event.part); this.fresh.add(event.part); }
    if (event.type === 'delta' && this.shown.has(event.part)) {
      this.column.say((this.said && this.fresh.delete(event.part) ? '\n\n' : '') + event.text);
      this.fresh.delete(event.part);
      this.said = true;
    }
    const end = { finished: `finished: ${event.reason}`, failed: `failed: ${event.error?.message}`, cancelled: `cancelled by ${event.by}` };
    if (end[event.type]) this.column.status(end[event.type]);
    return event.type in end;
  }
}

function readEvents(column, words = new Words(column), after = '') {
  const url = at(`v1/streams/${stream}/events`);
  if (after) url.searchParams.set('after', after);
  source = new EventSource(url);
  source.onopen = () => column.status('streaming');
  source.onerror = () => column.status(source?.readyState === EventSource.CLOSED ? 'closed' : 'reconnecting with Last-Event-ID…');
  let position = after;
  source.onmessage = ({ data, lastEventId }) => {
    position = lastEventId;
    if (words.take(JSON.parse(data))) { source.close(); done(); }
  };
  $('drop').onclick = () => {
    source.close();
    column.status('dropped; coming back in two seconds with the last id');
    setTimeout(readEvents, 2000, column, words, position);
  };
}

function readSocket(column, request) {
  const words = new Words(column);
  const url = at('v1/chat/ws');
  url.protocol = url.protocol.replace('http', 'ws');
  socket = new WebSocket(url, 'penstock.v1');
  socket.onopen = () => socket.send(JSON.stringify({ type: 'start', ref: 'ask', request }));
  socket.onclose = () => column.status('closed');
  return new Promise((resolve, reject) => {
    socket.onerror = () => reject(new Error('the WebSocket could not be opened'));
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      if (message.ref === 'ask' && message.type === 'error') reject(new Error(message.message));
      else if (message.ref === 'ask') { column.status('streaming'); resolve(message.stream); }
      else words.take(message);
    };
  });
}

async function readBody(column) {
  fetching = new AbortController();
  try {
    const response = await fetch(at(`v1/streams/${stream}/events`), { headers: { accept: 'text/plain' }, signal: fetching.signal });
    column.status('streaming');
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let piece = await reader.read(); !piece.done; piece = await reader.read()) column.say(piece.value);
    column.status('complete');
  } catch (error) {
    column.status(error.name === 'AbortError' ? 'stopped' : 'cut: the answer is not complete');
  }
}

function done() { for (const id of ['drop', 'cancel', 'steer']) $(id).disabled = true; }

async function ask(event) {
  event.preventDefault();
  source?.close(); socket?.close(); fetching?.abort();
  const columns = { sse: new Column('sse'), ws: new Column('ws'), http: new Column('http') };
  try {
    stream = await readSocket(columns.ws, { model: $('model').value, prompt: $('prompt').value });
    for (const id of ['drop', 'cancel', 'steer']) $(id).disabled = false;
    readEvents(columns.sse);
    await readBody(columns.http);
  } catch (error) {
    columns.ws.status(error.message);
  }
}

function command(body) { socket.send(JSON.stringify({ stream, ...body })); }

$('ask').addEventListener('submit', ask);
$('cancel').addEventListener('click', () => command({ type: 'cancel' }));
$('steer').addEventListener('click', () => command({ type: 'input', body: { text: 'in French' } }));
$('shell').textContent = [
  `curl -N ${at('v1/chat/chunked')} -d '{"prompt": "Hello"}'`,
  `curl -N '${at('v1/chat/stream?prompt=Hello')}'`,
].join('\n');

const { data } = await (await fetch(at('v1/models'))).json();
for (const { id } of data) $('model').append(new Option(id, id));
