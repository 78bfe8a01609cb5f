// ---- the list of codes: filtered, sorted, and only the rows in sight are elements
const models = data.runs.map((run, index) => run.codes && once(() => {
  const shown = numbers(run.codes.codes), place = new Map([...shown].map((code, i) => [code, i]));
  const details = new Map((run.codes.details ?? []).map((detail, i) => [detail.code, { ...detail, meaning: run.meanings[i] }]));
  const columns = run.codes.columns.map((column) => ({ ...column, values: numbers(column.values) }));
  return { index, run, ...run.codes, shown, place, details, columns };
}));
const GROUPS = { dead: "dead: on no sample", dense: "dense: on more than a tenth", always_on: "always on" };
const state = { run: models.findIndex((model) => model), group: "", sort: "", descending: true, search: "", range: 0, low: -Infinity, high: Infinity, mosaic: false, rows: [], selected: null };
const model = () => models[state.run]();
const list = $("code-list"), ROW = 38, TILE = 70, HEAD = 44;
let nodes = new Map(), width = 1; // rows in sight, and how many tiles stand side by side

const valueOf = (m, column, code) => { const i = m.place.get(code); return i === undefined ? NaN : m.columns[column].values[i]; };
const link = (run, code) => `#${run ? `run-${run + 1}-` : ""}code-${code}`;
const meaningOf = (m, code) => visible(m.details.get(code)?.meaning ?? "");
function pictureOf(m, code) {
  const atom = m.details.get(code)?.atom;
  return atom && (atom.picture ?? atom.field);
}

function refresh() {
  const m = model(), words = state.search.trim().toLowerCase();
  let rows = state.group ? m.groups[state.group] ?? [] : [...m.shown];
  if (words) rows = rows.filter((code) => String(code) === words || meaningOf(m, code).toLowerCase().includes(words));
  if (state.low > -Infinity || state.high < Infinity) rows = rows.filter((code) => { const v = valueOf(m, state.range, code); return v >= state.low && v <= state.high; });
  if (state.sort !== "") {
    const sign = state.descending ? -1 : 1, key = state.sort === "code" ? (code) => code : (code) => valueOf(m, Number(state.sort), code);
    const text = state.sort === "meaning" && new Map(rows.map((code) => [code, meaningOf(m, code)]));
    rows = [...rows].sort(text ? (a, b) => -sign * text.get(a).localeCompare(text.get(b)) : (a, b) => {
      const [u, v] = [key(a), key(b)];
      return Number.isNaN(u) ? (Number.isNaN(v) ? 0 : 1) : Number.isNaN(v) ? -1 : sign * (u - v);
    });
  } else if (!state.descending) rows = [...rows].reverse();
  state.rows = rows;
  layout();
  say();
}

function say() {
  const m = model(), at = state.rows.indexOf(state.selected), all = m.shown.length;
  const group = state.group ? `, group: ${GROUPS[state.group] ?? state.group.replaceAll("_", " ")}` : "";
  $("code-count").textContent = `${state.rows.length} of ${state.group ? `${m.n_code}` : all} codes${group}` + (state.selected === null ? "" : `; code ${state.selected}${at < 0 ? ", not in this list" : `, ${at + 1} of ${state.rows.length}`}`);
}

function layout() {
  const m = model();
  nodes = new Map();
  list.setAttribute("role", state.mosaic ? "listbox" : "grid");
  const body = el("div", { class: "body", role: state.mosaic ? "presentation" : "rowgroup" });
  if (state.mosaic) {
    width = Math.max(1, Math.floor(list.clientWidth / TILE));
    body.style.height = `${Math.ceil(state.rows.length / width) * TILE}px`;
    list.replaceChildren(body);
    list.removeAttribute("aria-rowcount");
  } else {
    width = 1;
    body.style.height = `${state.rows.length * ROW}px`;
    list.style.setProperty("--columns", `${[...m.details.values()].some((detail) => pictureOf(m, detail.code)) ? 5.6 : 3.6}rem ${[...m.details.values()].some((detail) => detail.meaning) ? 13 : 5.6}rem repeat(${m.columns.length}, 5.6rem)`);
    list.setAttribute("aria-rowcount", state.rows.length + 1);
    const head = (key, label, title) => el("div", { class: key === "meaning" ? "cell text" : "cell", role: "columnheader", "aria-sort": state.sort === key ? (state.descending ? "descending" : "ascending") : "none" },
      el("button", { type: "button", tabindex: "-1", title, onclick: () => sortBy(key, state.sort === key ? !state.descending : true) }, label, state.sort === key ? (state.descending ? " ▾" : " ▴") : ""));
    list.replaceChildren(el("div", { class: "row head", role: "row", "aria-rowindex": "1" }, head("code", "code"), head("meaning", "stands for"),
      m.columns.map((column, i) => head(String(i), visible(column.label), visible(`${column.label}${column.unit ? `, ${column.unit}` : ""}: ${data.definitions[column.definition] ?? ""}`)))), body);
  }
  draw();
}

function draw() {
  const m = model(), body = list.querySelector(".body"), size = state.mosaic ? TILE : ROW, extra = 4 * size;
  const first = Math.max(0, Math.floor((list.scrollTop - extra) / size) * width), last = Math.min(state.rows.length, Math.ceil((list.scrollTop + list.clientHeight + extra) / size) * width);
  for (const [i, node] of nodes) if (i < first || i >= last) { node.remove(); nodes.delete(i); }
  for (let i = first; i < last; i++) if (!nodes.has(i)) {
    const node = state.mosaic ? tile(m, i) : row(m, i);
    nodes.set(i, node);
    body.append(node);
  }
  for (const [i, node] of nodes) node.setAttribute("aria-selected", state.rows[i] === state.selected);
  const at = state.rows.indexOf(state.selected);
  if (nodes.has(at)) list.setAttribute("aria-activedescendant", `row-${at}`); else list.removeAttribute("aria-activedescendant");
}

function row(m, i) {
  const code = state.rows[i], cell = pictureOf(m, code);
  const node = el("div", { class: "row", role: "row", id: `row-${i}`, "aria-rowindex": i + 2, onclick: () => choose(code) },
    el("div", { class: "cell", role: "gridcell" }, cell && picture(m.index, cell), el("a", { href: link(m.index, code), tabindex: "-1" }, String(code))),
    el("div", { class: "cell text", role: "gridcell", title: meaningOf(m, code) }, el("bdi", { dir: "ltr" }, meaningOf(m, code))),
    m.columns.map((_, c) => el("div", { class: "cell", role: "gridcell" }, number(valueOf(m, c, code), 3))));
  node.style.top = `${i * ROW}px`;
  return node;
}

const spans = new Map(); // range of a column, for colours
function span(m, c) {
  const key = `${m.index} ${c}`, log = m.columns[c].log;
  if (!spans.has(key)) {
    const known = m.columns[c].values.filter((v) => Number.isFinite(v) && (!log || v > 0)), at = (v) => (log ? Math.log(v) : v);
    const low = at(known.reduce((a, b) => Math.min(a, b), Infinity)), high = at(known.reduce((a, b) => Math.max(a, b), -Infinity));
    spans.set(key, (v) => (log && !(v > 0) ? 0 : (at(v) - low) / (high - low || 1)));
  }
  return spans.get(key);
}
function tile(m, i) {
  const code = state.rows[i], cell = pictureOf(m, code), c = Math.max(0, Number(state.sort) || 0), column = m.columns[c], value = column && valueOf(m, c, code);
  const words = column ? `${visible(column.label)} ${number(value, 3)}` : "";
  const node = el("div", { class: "tile", role: "option", id: `row-${i}`, title: `code ${code}, ${words}${meaningOf(m, code) ? `: ${meaningOf(m, code)}` : ""}`, "aria-label": `code ${code}, ${words}`, onclick: () => choose(code) });
  if (cell) node.append(picture(m.index, cell), String(code));
  else {
    const [colour, ink] = column && Number.isFinite(value) ? viridis(span(m, c)(value)) : ["var(--grid)", "var(--ink)"], swatch = el("div", { class: "swatch" }, String(code));
    Object.assign(swatch.style, { background: colour, color: ink });
    node.append(swatch, number(value, 2));
  }
  Object.assign(node.style, { top: `${Math.floor(i / width) * TILE}px`, left: `${(i % width) * TILE}px`, width: `${TILE}px`, height: `${TILE}px` });
  return node;
}

function sortBy(key, descending) {
  state.sort = key;
  state.descending = descending;
  controls();
  refresh();
}

function inSight(i) {
  const size = state.mosaic ? TILE : ROW, head = state.mosaic ? 0 : HEAD, top = Math.floor(i / width) * size;
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + size + head > list.scrollTop + list.clientHeight) list.scrollTop = top + size + head - list.clientHeight;
}

function choose(code, { quiet = false } = {}) { // quiet: without a change of the address
  state.selected = code;
  if (!quiet) history.replaceState(null, "", link(state.run, code));
  const at = state.rows.indexOf(code);
  if (at >= 0) inSight(at);
  draw();
  say();
  view(model(), code);
}
function step(by) {
  if (!state.rows.length) return;
  const at = state.rows.indexOf(state.selected);
  choose(state.rows[Math.min(Math.max(at < 0 ? 0 : at + by, 0), state.rows.length - 1)]);
}
