// ---- one code
function view(m, code) {
  const detail = m.details.get(code), place = m.place.get(code), several = data.runs.length > 1, tokens = m.run.pool?.kind === "token";
  const box = $("code-view"), move = (by, label, key) => el("button", { type: "button", class: "small", onclick: () => step(by), "aria-keyshortcuts": key }, label);
  box.setAttribute("aria-label", `code ${code}`);
  const title = el("h3", null, `Code ${code}`, several && el("span", { class: "soft" }, ` of ${visible(m.run.name)}`));
  const facts = el("dl", { class: "facts" }, place === undefined ? [] : m.columns.map((column) => [
    el("dt", null, el("a", { href: `#definition-${column.definition}` }, visible(column.label))),
    el("dd", null, exactly(column.values[place]), column.unit && el("span", { class: "soft" }, ` ${visible(column.unit)}`))]));
  box.replaceChildren(...[
    el("header", null, title, el("span", null, move(-1, "previous", "k"), " ", move(1, "next", "j"))),
    detail?.meaning && el("p", null, "Stands for: ", el("strong", null, el("bdi", { dir: "ltr" }, ...marked(detail.meaning)))),
    place === undefined && el("p", { class: "note" }, `This code is not among the ${m.shown.length} that this report holds in detail. ${visible(m.left_out ?? "")}`),
    el("div", { class: "atom" }, atomOf(m, detail, code), facts.children.length ? facts : null),
    detail && !tokens && weightsOf(detail), detail?.activations && histogram(detail.activations, detail.signed),
    ...(detail?.bands ?? []).map((band) => examples(m, band)),
    detail && tokens && weightsOf(detail), detail && effectOf(detail.effect), detail && labelsOf(detail.labels),
    detail && el("div", { class: "two" }, neighbours(m, detail.by_cosine, "Nearest by |cosine|"), neighbours(m, detail.by_firing, "Most often active together (Jaccard)")),
  ].filter(Boolean));
  box.scrollTop = 0;
}

function atomOf(m, detail, code) {
  const atom = detail?.atom;
  if (!atom) return null;
  const figures = [["picture", `what code ${code} adds`], ["field", "receptive field of its encoder"]].filter(([key]) => atom[key]).map(([key, label]) => {
    const sheet = m.run.sheets[atom[key].sheet];
    return el("figure", { style: "width: min(9rem, 44%)", title: visible(sheet.scale) }, picture(m.index, atom[key], label), el("figcaption", null, key === "picture" ? (atom.exact ? "atom" : "what it adds, at its largest value") : "receptive field"));
  });
  return figures.length ? figures : null;
}

function weightsOf(detail) {
  const atom = detail.atom ?? {}, parts = [];
  if (atom.top?.length) parts.push(bars("Largest weights of the atom", "feature", "weight", atom.top.map((f) => [f.name, f.weight])));
  if (atom.weights) parts.push(strip(numbers(atom.weights), "weights of the atom over all features"));
  if (atom.sites?.length) parts.push(bars("Share of its norm by site", "site", "share", atom.sites.map((share, i) => [`site ${i}`, share])));
  return parts.length ? el("div", null, parts) : null;
}

// a table whose numbers are bars, too
function bars(caption, first, second, rows, more = []) {
  const largest = Math.max(...rows.map(([, value]) => Math.abs(value)), 1e-300);
  return el("table", { class: "bars" }, el("caption", null, caption),
    el("thead", { class: "visually-hidden" }, el("tr", null, [first, second, ...more.map(([name]) => name)].map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", null, rows.map(([name, value], i) => {
      const bar = svg("svg", { viewBox: "0 0 100 10", width: "100", height: "10", "aria-hidden": "true", class: value < 0 ? "s1" : "s0" }, svg("rect", { class: "fill", width: (100 * Math.abs(value)) / largest, height: "10", stroke: "none" }));
      return el("tr", null, el("th", { scope: "row" }, el("bdi", null, ...marked(String(name)))), el("td", { class: "n" }, exactly(value, 3)), el("td", null, bar), more.map(([, of]) => el("td", { class: "soft" }, of(i))));
    })));
}

function strip(values, label) { // a line over features
  const w = 360, h = 60, finite = [...values].filter(Number.isFinite), low = Math.min(0, ...finite), high = Math.max(0, ...finite), y = (v) => h - 3 - ((v - low) / (high - low || 1)) * (h - 6);
  const x = (i) => (values.length > 1 ? (i / (values.length - 1)) * w : w / 2);
  let path = "", drawn = false;
  values.forEach((v, i) => { path += Number.isFinite(v) ? `${drawn ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}` : ""; drawn = Number.isFinite(v); });
  const words = `${label}: ${values.length} values from ${number(finite.length ? Math.min(...finite) : NaN, 3)} to ${number(finite.length ? Math.max(...finite) : NaN, 3)}`;
  return el("figure", { class: "chart" }, svg("svg", { viewBox: `0 0 ${w} ${h}`, role: "img", "aria-label": words, preserveAspectRatio: "none", class: "strip" },
    svg("line", { class: "zero", x1: 0, x2: w, y1: y(0), y2: y(0) }), svg("path", { class: "line s0", d: path, "vector-effect": "non-scaling-stroke" })), el("figcaption", null, words));
}

function histogram({ edges, counts, label, below, below_is: what, log }, signed) {
  const left = 52, right = 350, top = 8, bottom = 112, most = Math.max(...counts, 1), lowest = edges[0], highest = edges[edges.length - 1];
  const at = log && lowest > 0 ? (v) => Math.log(v / lowest) / Math.log(highest / lowest || 2) : (v) => (v - lowest) / (highest - lowest || 1);
  const x = (v) => left + at(v) * (right - left), y = (n) => bottom - (n / most) * (bottom - top);
  const text = (value, px, py, anchor) => svg("text", { x: px, y: py, "text-anchor": anchor }, value);
  const plot = svg("svg", { viewBox: "0 0 360 128", role: "img", "aria-label": `histogram of ${visible(label)}: ${counts.reduce((a, b) => a + b, 0)} values from ${number(lowest, 3)} to ${number(highest, 3)}` },
    counts.map((n, i) => n > 0 && svg("rect", { class: "bar-of fill s0", x: x(edges[i]), width: Math.max(0.5, x(edges[i + 1]) - x(edges[i])), y: y(n), height: bottom - y(n) }, svg("title", null, `${number(edges[i], 3)} to ${number(edges[i + 1], 3)}: ${n}`))),
    svg("line", { class: "zero", x1: left, x2: right, y1: bottom, y2: bottom }), text(String(most), left - 6, top + 9, "end"), text("0", left - 6, bottom + 4, "end"),
    text(number(lowest, 3), left, bottom + 13, "start"), text(number(highest, 3), right, bottom + 13, "end"));
  return el("figure", { class: "chart" }, el("h4", null, `Activations${signed ? " (both signs occur; magnitudes here)" : ""}`), plot, el("div", { class: "x-title" }, visible(label)), below > 0 && el("figcaption", null, `${below} samples: ${visible(what || "not in the histogram")}`));
}

function examples(m, band) {
  const range = band.low === undefined ? "" : ` (${number(band.low, 3)} to ${number(band.high, 3)})`;
  const pool = m.run.pool ?? { kind: "other" }, one = { picture: pictureExample, series: lineExample, row: rowExample, token: tokenExample }[pool.kind] ?? plainExample;
  const contexts = band.examples.some((example) => example.context), kind = contexts ? contextExample : one;
  const empty = band.examples.length === 0;
  return el("section", { "aria-label": band.label }, el("h4", null, visible(band.label), el("span", { class: "soft" }, range)),
    empty ? el("p", { class: "note" }, "none") : el("ul", { class: kind === pictureExample ? "thumbs" : "contexts" }, band.examples.map((example) => el("li", null, kind(m, pool, example)))));
}
const poolRows = new Map();
function rowsOf(m, key) {
  const name = `${m.index} ${key}`;
  if (!poolRows.has(name)) poolRows.set(name, m.run.pool?.[key] ? numbers(m.run.pool[key]) : null);
  return poolRows.get(name);
}
const rowNumber = (m, example) => rowsOf(m, "rows")?.[example.sample] ?? example.sample;
const labelOf = (pool, example) => (pool.labels?.length ? pool.labels[example.sample] : null);
function under(m, pool, example) {
  const label = labelOf(pool, example);
  return [exactly(example.activation, 3), label !== null && [" · ", el("bdi", null, ...marked(label))]];
}
function pictureExample(m, pool, example) {
  return [picture(m.index, { sheet: pool.sheet, index: example.sample }, `sample ${rowNumber(m, example)}`), el("div", { title: `sample ${rowNumber(m, example)}` }, under(m, pool, example))];
}
const plainExample = (m, pool, example) => [`sample ${rowNumber(m, example)}: `, under(m, pool, example)];
function valuesOf(m, pool, example) {
  const n = pool.values.shape[1];
  return rowsOf(m, "values").subarray(example.sample * n, (example.sample + 1) * n);
}
const lineExample = (m, pool, example) => [plainExample(m, pool, example), pool.values && strip(valuesOf(m, pool, example), "values")];
const short = (name) => (name.length > 40 ? `${name.slice(0, 39)}…` : name);
function rowExample(m, pool, example) {
  if (!pool.values) return plainExample(m, pool, example);
  const values = [...valuesOf(m, pool, example)], names = pool.features ?? [], named = values.map((v, i) => [names[i] ?? `feature ${i}`, v]);
  const shown = named.length <= 12 ? named : [...named].sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 12);
  return [plainExample(m, pool, example), el("div", { class: "soft" }, shown.map(([name, v], i) => [i ? " · " : "", el("bdi", null, ...marked(short(name))), " ", exactly(v, 3)]), named.length > shown.length && ` · and ${named.length - shown.length} smaller`)];
}
const tokenExample = (m, pool, example) => [el("span", { class: "token on" }, ...marked(pool.tokens?.[example.sample] ?? "")), " ", plainExample(m, pool, example)];
const spacing = new Map();
function spaced(m) { // whether spaces are parts of the tokens; those of words alone are set apart
  if (!spacing.has(m.index)) spacing.set(m.index, m.run.vocabulary.some((token) => /\s/u.test(token)));
  return spacing.get(m.index);
}
function contextExample(m, pool, example) {
  if (!example.context) return tokenExample(m, pool, example);
  const { activations, centre } = example.context, tokens = example.context.tokens.map((i) => m.run.vocabulary[i]), most = Math.max(...activations.map((a) => Math.abs(a ?? 0)), Math.abs(example.activation), 1e-300);
  const apart = spaced(m) ? "" : " ";
  const spans = tokens.map((token, i) => {
    const value = activations[i] ?? (i === centre ? example.activation : 0), on = value !== 0;
    const node = el("span", { class: `token${on ? " on" : ""}${i === centre ? " peak" : ""}${value < 0 ? " negative" : ""}`, title: on ? `${number(value)}` : null }, ...marked(token), on && el("sub", null, number(value, 2)));
    if (on) node.style.background = `rgba(var(${value < 0 ? "--negative" : "--shade"}), ${(0.45 * Math.abs(value)) / most})`;
    return i ? [apart || el("wbr"), node] : node; // lines break between tokens
  });
  return [el("div", { class: "tokens" }, spans), el("div", { class: "soft" }, plainExample(m, pool, example))];
}

function effectOf(effect) {
  if (!effect) return null;
  const share = effect.share === undefined ? "" : effect.share > 10 ? ` (${number(effect.share, 3)} times the error)` : ` (${number(100 * effect.share, 3)}% of the error)`;
  return el("div", null, el("h4", null, "Effect of setting it to 0"), el("p", null, `On ${effect.n} samples on which it is active, the error grows by `, exactly(effect.loss), `${share}.`),
    effect.features?.length ? bars("What it adds to the output there", "feature", "change", effect.features.map((f) => [f.name, f.weight])) : null);
}
function labelsOf(labels) {
  if (!labels?.length) return null;
  return bars("Labels of the samples on which it is active", "label", "share", labels.map((l) => [l.label, l.share]), [["of all samples", (i) => `of all ${number(labels[i].base, 3)}`]]);
}
function neighbours(m, near, title) {
  if (!near?.length) return null;
  return el("div", null, el("h4", null, title), el("ul", { class: "thumbs neighbours" }, near.map(({ code, value }) => {
    const cell = pictureOf(m, code);
    return el("li", null, el("a", { href: link(m.index, code) }, cell && picture(m.index, cell), `code ${code}`), el("div", null, exactly(value, 3)), el("div", { class: "soft" }, el("bdi", { dir: "ltr" }, meaningOf(m, code))));
  })));
}
