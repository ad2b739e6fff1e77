// Puts what the server sends into the page, keeps times going, and serves the keyboard. Text from the cluster comes
// escaped, as part of the server's HTML; here it is only ever handled as elements.

const byId = (id) => document.getElementById(id);
const filter = byId("filter");

// ---- Changes

// Makes an element like another, keeping what is the same: focus, selection and scrolling stay where they are.
function morph(old, next) {
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== next.data) old.data = next.data;
    return;
  }
  for (const { name } of [...old.attributes]) {
    // Whether a table is unfolded is the reader's affair.
    if (!next.hasAttribute(name) && name !== "open") old.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  let at = old.firstChild;
  for (const child of [...next.childNodes]) {
    const match = child.id ? named.get(child.id) : at && !at.id && at.nodeName === child.nodeName ? at : null;
    if (!match) {
      old.insertBefore(child, at);
      continue;
    }
    // What stands before a named element and is not in the new version goes, so that the element need not move.
    while (at && at !== match && match.compareDocumentPosition(at) & Node.DOCUMENT_POSITION_PRECEDING) {
      const gone = at;
      at = at.nextSibling;
      gone.remove();
    }
    if (at === match) at = at.nextSibling;
    else old.insertBefore(match, at);
    morph(match, child);
  }
  while (at) {
    const gone = at;
    at = at.nextSibling;
    gone.remove();
  }
}

function apply(changes) {
  if (changes.all) {
    const kept = new Set(changes.put.map((put) => put.id));
    for (const within of ["notice", "summary", "empty", "groups", "head", "line", "left", "right", "below"]) {
      for (const child of [...(byId(within)?.children ?? [])]) if (!kept.has(child.id)) child.remove();
    }
  }
  for (const id of changes.drop) byId(id)?.remove();
  for (const put of changes.put) {
    const template = document.createElement("template");
    template.innerHTML = put.html;
    const next = template.content.firstElementChild;
    const old = byId(put.id);
    if (old) morph(old, next);
    else if (put.after) byId(put.after).after(next);
    else byId(put.within).prepend(next);
  }
  if (changes.say.length) byId("say").textContent = changes.say.join(". ");
  refresh();
}

// ---- The connection

let source = null;
let retry = 0;

function follow() {
  clearTimeout(retry);
  source?.close();
  source = new EventSource(document.body.dataset.events);
  source.onmessage = (event) => {
    reachable(true);
    apply(JSON.parse(event.data));
  };
  source.onerror = () => {
    reachable(false);
    // A browser tries again by itself unless it got an answer that is no stream.
    if (source.readyState === EventSource.CLOSED) retry = setTimeout(follow, 2000);
  };
}

function reachable(is) {
  byId("unreachable").hidden = is;
  pulse();
}

function pulse() {
  const live = byId("unreachable").hidden && !byId("lost") && !document.querySelector("#nothing.off");
  byId("pulse").textContent = live ? "Live" : "Not live";
  byId("pulse").classList.toggle("off", !live);
}

// A browser keeps few connections to one server: pages nobody looks at need none.
document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(retry);
    source?.close();
    source = null;
  } else if (!source) {
    follow();
  }
});

// ---- Times

const units = [["day", 86400], ["hour", 3600], ["minute", 60], ["second", 1]];
const words = new Intl.RelativeTimeFormat("en", { numeric: "always", style: "short" });

function relative(time) {
  const seconds = Math.max(0, (Date.now() - time) / 1000);
  const [unit, size] = units.find(([, size]) => seconds >= size) ?? units.at(-1);
  return words.format(-Math.floor(seconds / size), unit);
}

function tell(root = document) {
  for (const time of root.querySelectorAll("time")) {
    const text = relative(Date.parse(time.dateTime));
    if (time.textContent !== text) time.textContent = text;
  }
}

// ---- The filter

function sift() {
  if (!filter) return;
  const wanted = filter.value.trim().toLowerCase().split(/\s+/).filter(Boolean);
  const rows = [...byId("groups").rows];
  let shown = 0;
  for (const row of rows) {
    const text = row.textContent.toLowerCase();
    row.hidden = !wanted.every((word) => text.includes(word));
    if (!row.hidden) shown += 1;
  }
  byId("matches").textContent = wanted.length ? `${shown} of ${rows.length}` : "";
  byId("no-match").hidden = !(wanted.length && rows.length && !shown);
}

if (filter) {
  filter.value = new URLSearchParams(location.search).get("filter") ?? "";
  filter.addEventListener("input", () => {
    const query = filter.value ? `?filter=${encodeURIComponent(filter.value)}` : location.pathname;
    history.replaceState(null, "", query);
    sift();
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey) return;
  const writes = event.target.closest("input");
  if (event.key === "/" && filter && !writes) {
    event.preventDefault();
    filter.focus();
    filter.select();
  } else if (event.key === "Escape" && event.target === filter) {
    filter.value = "";
    filter.dispatchEvent(new Event("input"));
  }
  const segment = event.target.closest(".segment");
  if (segment && ["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) {
    event.preventDefault();
    const all = [...document.querySelectorAll(".segment")];
    const at = all.indexOf(segment);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
    all[to]?.focus();
  }
});

// ---- The timeline's caption

let pointed = null;

function caption() {
  const line = byId("caption");
  if (!line) return;
  const segment = (pointed?.isConnected ? pointed : null) ?? document.activeElement?.closest(".segment");
  const text = segment ? segment.getAttribute("aria-label") : line.dataset.hint;
  if (line.textContent !== text) line.textContent = text;
}

document.addEventListener("pointerover", (event) => {
  pointed = event.target.closest(".segment");
  caption();
});
document.addEventListener("focusin", caption);
document.addEventListener("focusout", () => setTimeout(caption));

// ---- What goes on

function refresh() {
  tell();
  sift();
  caption();
  pulse();
}

refresh();
setInterval(tell, 1000);
if (!document.hidden) follow();
