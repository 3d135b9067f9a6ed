// The page asks for the state once a second and shows it. All text goes into the page as text.
const every = 1000;
const keep = 1000; // events
const at = (id) => document.getElementById(id);
let since = 0;
let events = [];

const number = (n) => {
  if (n < 10) return String(Math.round(n * 10) / 10);
  for (const unit of ["", "k", "M", "G"]) {
    if (n < 1000) return Math.round(n * 10) / 10 + unit;
    n /= 1000;
  }
  return Math.round(n) + "T";
};

function cell(content, kind) {
  const td = document.createElement("td");
  if (kind) td.className = kind;
  td.append(content);
  return td;
}

// state is a word with a sign: colour alone says nothing.
function state(good, word) {
  const span = document.createElement("span");
  span.className = good ? "good" : "bad";
  span.textContent = (good ? "✓ " : "✗ ") + word;
  return span;
}

// fill shows rows; a table that is as it was is left alone, so that a selection stays.
function fill(id, rows, nothing) {
  const body = at(id);
  const fresh = document.createElement("tbody");
  for (const cells of rows) {
    const tr = document.createElement("tr");
    tr.append(...cells);
    fresh.append(tr);
  }
  if (!rows.length) {
    const td = cell(nothing, "dim");
    td.colSpan = body.parentElement.tHead.rows[0].cells.length;
    const tr = document.createElement("tr");
    tr.append(td);
    fresh.append(tr);
  }
  if (fresh.innerHTML !== body.innerHTML) body.replaceChildren(...fresh.childNodes);
}

function members(list) {
  const span = document.createElement("span");
  list.forEach((m, i) => {
    if (i) span.append(", ");
    const ready = m.state === "ready";
    const one = document.createElement("span");
    one.className = ready ? "" : "bad";
    one.textContent = `${m.address} ${ready ? "" : m.state + " "}(${m.current})`;
    if (m.reason) one.title = m.reason;
    span.append(one);
  });
  return list.length ? span : "none";
}

function show(s) {
  document.title = `spklab watch: ${s.lab}`;
  at("title").textContent = `${s.lab} (${s.fabric})`;
  fill("virtual_servers", s.virtual_servers.map((v) => [
    cell(state(v.up, v.up ? "up" : "down" + (v.reason ? ": " + v.reason : ""))), cell(v.tmm), cell(v.name), cell(`${v.protocol} ${v.where}`),
    cell(v.announced ? "announced" : "–"), cell(number(v.current), "n"), cell(number(v.total), "n"), cell(number(v.conns_rate), "n"), cell(number(v.bytes_rate), "n"), cell(members(v.members), "wrap"),
  ]), "no virtual server");
  fill("sessions", s.sessions.map((p) => [cell(state(p.up, p.state + (p.error ? ": " + p.error : ""))), cell(p.node), cell(p.peer), cell(String(p.asn), "n"), cell(p.for || "–")]), "no session");
  fill("routes", s.routes.map((r) => [cell(r.router), cell(r.prefix), cell(r.next_hops.join(", "))]), "no route was learned");
  fill("flow_rows", s.flows.map((f) => [cell(f.tmm), cell(f.protocol), cell(f.from), cell(f.to), cell(f.member), cell(f.state), cell(f.idle, "n")]), "no connection is tracked");
  fill("counter_rows", s.counters.map((c) => [cell(c.tmm), cell(c.name), cell(number(c.value), "n"), cell(number(c.rate), "n")]), "nothing was counted");
  at("beyond").hidden = !s.flows_beyond;
  at("beyond").textContent = `${s.flows_beyond} more are not listed.`;
  at("conditions").replaceChildren(...s.conditions.map((c) => {
    const li = document.createElement("li");
    li.append(state(!c.error, c.reason), ` ${c.tmm}: ${c.object}: ${c.message}`);
    return li;
  }));
  health(s);
}

function health(s) {
  const down = s.virtual_servers.filter((v) => !v.up).length;
  const lost = s.sessions.filter((p) => !p.up).length;
  const wrong = [
    ...Object.keys(s.silent).map((p) => `${p} gives no answer`),
    lost && `${lost} BGP ${lost === 1 ? "session is" : "sessions are"} down`,
    down && `${down} virtual ${down === 1 ? "server is" : "servers are"} down`,
  ].filter(Boolean);
  say(!wrong.length, wrong.join(", ") || "all is well");
}

function say(good, text) {
  const next = state(good, text);
  if (at("health").innerHTML !== next.outerHTML) at("health").replaceChildren(next);
}

function showEvents() {
  const word = at("filter").value.toLowerCase();
  const shown = events.filter((e) => [e.source, e.kind, e.object, e.detail].join(" ").toLowerCase().includes(word));
  fill("event_rows", shown.slice(-200).reverse().map((e) => [
    cell(new Date(e.clock).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 })), cell(e.source), cell(e.kind), cell(e.object ?? ""), cell(e.detail ?? "", "wrap"),
  ]), word ? "no event holds that" : "nothing has happened");
}

async function ask() {
  try {
    const answer = await fetch(`state?since=${since}`);
    if (!answer.ok) throw new Error(await answer.text());
    const s = await answer.json();
    since = s.until;
    events = events.concat(s.events).slice(-keep);
    if (at("pause").checked) return;
    show(s);
    showEvents();
  } catch (e) {
    say(false, "no answer: " + e.message);
  }
}

// draw loads the picture, and shows it once it is whole.
async function draw() {
  const next = new Image();
  next.src = `picture.svg?${Date.now()}`;
  try {
    await next.decode();
    at("picture").src = next.src;
  } catch {
    // the next one may come
  }
}

at("filter").addEventListener("input", showEvents);
for (let turn = 0; ; turn++) {
  if (!document.hidden) {
    if (turn % 3 === 0 && !at("pause").checked) draw();
    await ask();
  }
  await new Promise((wake) => setTimeout(wake, every));
}
