// One question, one run, three readers: an EventSource, a WebSocket and a fetch body, each over the browser's own means.

const $ = (id) => document.getElementById(id);
const base = new URL('.', document.baseURI);
const at = (path) => new URL(path, base);

let source, socket, fetching, stream, events;

// The key of a server that wants one. It is kept in this page's memory alone, and never in a URL.
let key = '';
const headers = (given = {}) => (key ? { authorization: `Bearer ${key}`, ...given } : given);
const base64url = (text) => btoa(text).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');

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
    const used = event.usage ? `, ${event.usage.output} tokens` : '';
    if (end[event.type]) this.column.status(end[event.type] + used);
    return event.type in end;
  }
}

function readEvents(column, words = new Words(column), after = '') {
  const url = new URL(events);
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
  socket = new WebSocket(url, key ? ['penstock.v1', `penstock.key.${base64url(key)}`] : 'penstock.v1');
  socket.onopen = () => socket.send(JSON.stringify({ type: 'start', ref: 'ask', request }));
  socket.onclose = () => column.status('closed');
  return new Promise((resolve, reject) => {
    socket.onerror = () => reject(new Error('the WebSocket could not be opened'));
    socket.onmessage = ({ data }) => {
      const message = JSON.parse(data);
      // Without a ref it is about the socket, as when the key is missing.
      if (message.type === 'error' && (message.ref ?? 'ask') === 'ask') reject(new Error(message.message));
      else if (message.ref === 'ask') {
        column.status('streaming');
        // An EventSource can send no key, so with keys the server gives a URL that is good for this run.
        events = message.events_url ? new URL(message.events_url, base) : at(`v1/streams/${message.stream}/events`);
        resolve(message.stream);
      }
      else words.take(message);
    };
  });
}

async function readBody(column) {
  fetching = new AbortController();
  try {
    const response = await fetch(at(`v1/streams/${stream}/events`), { headers: headers({ accept: 'text/plain' }), signal: fetching.signal });
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
    if (socket) socket.onclose = null;                 // its reason is the better last word
    columns.ws.status(error.message);
  }
}

function command(body) { socket.send(JSON.stringify({ stream, ...body })); }

$('ask').addEventListener('submit', ask);
$('cancel').addEventListener('click', () => command({ type: 'cancel' }));
$('steer').addEventListener('click', () => command({ type: 'input', body: { text: 'in French' } }));
function showShell() {
  const shown = $('with-key').hidden ? '' : ' -H "Authorization: Bearer $PENSTOCK_API_KEY"';
  $('shell').textContent = [
    `curl -N${shown} ${at('v1/chat/chunked')} -d '{"prompt": "Hello"}'`,
    `curl -N${shown} '${at('v1/chat/stream?prompt=Hello')}'`,
  ].join('\n');
}

async function loadModels() {
  const answer = await fetch(at('v1/models'), { headers: headers() });
  const wanted = answer.status === 401;
  if (wanted) $('with-key').hidden = false;
  $('key-status').textContent = !wanted ? '' : key ? 'the server does not know this key' : 'this server wants a key';
  const { data = [] } = await answer.json();
  showShell();
  $('model').replaceChildren(...data.map(({ id }) => new Option(id, id)));
}

$('key').addEventListener('change', async () => { key = $('key').value.trim(); await loadModels(); });
await loadModels();
