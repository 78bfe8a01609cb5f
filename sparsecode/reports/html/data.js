// ---- what is in the page: numbers, pictures, elements. Texts of the data become text nodes and attributes, never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const $ = (id) => document.getElementById(id);
const KINDS = { f4: Float32Array, f8: Float64Array, i4: Int32Array, u1: Uint8Array, u2: Uint16Array };
const numbers = (array) => new KINDS[array.kind](Uint8Array.from(atob(array.data), (c) => c.charCodeAt(0)).buffer);

function once(make) { // computed at the first use
  let value, known = false;
  return () => { if (!known) { value = make(); known = true; } return value; };
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}
const el = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) => fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const SUPERSCRIPTS = { "-": "⁻", 0: "⁰", 1: "¹", 2: "²", 3: "³", 4: "⁴", 5: "⁵", 6: "⁶", 7: "⁷", 8: "⁸", 9: "⁹" };
function number(value, digits = 4) { // as in geometry.py
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (Math.abs(value) < 1e7 && Number.isInteger(value)) return String(value === 0 ? 0 : value).replace("-", "−");
  const [mantissa, power] = value.toExponential(digits - 1).split("e");
  let text = String(Number(Number(value).toPrecision(digits)));
  if (power < -4 || power >= digits) {
    const factor = Number(mantissa) === 1 ? "" : `${Number(mantissa)} × `;
    text = `${factor}10${[...String(Number(power))].map((c) => SUPERSCRIPTS[c]).join("")}`;
  }
  return text.replace("-", "−");
}
const exactly = (value, digits) => el("data", { value: String(value) }, number(value, digits));

const UNSEEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu;
function escape(character) {
  const code = character.codePointAt(0), known = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }[character];
  if (known) return known;
  return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}
const visible = (text) => String(text).replace(UNSEEN, escape);
function marked(text) { // nodes: escapes stand out
  const nodes = [];
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    nodes.push(text.slice(end, match.index), el("span", { class: "escape" }, match[0] === "\n" ? "↵" : escape(match[0])));
    end = match.index + match[0].length;
  }
  return [...nodes, text.slice(end)];
}

// ---- pictures: cells of sprite sheets, drawn at their own size and scaled by the style
const images = new Map();
function image(run, name) {
  const key = `${run} ${name}`;
  if (!images.has(key)) {
    const loaded = new Image();
    loaded.src = `data:image/png;base64,${data.runs[run].sheets[name].png}`;
    images.set(key, loaded.decode().then(() => loaded));
  }
  return images.get(key);
}
function paint(canvas, run, cell) {
  const sheet = data.runs[run].sheets[cell.sheet];
  canvas.width = sheet.width;
  canvas.height = sheet.height;
  const x = (cell.index % sheet.columns) * sheet.width, y = Math.floor(cell.index / sheet.columns) * sheet.height;
  image(run, cell.sheet).then((whole) => canvas.getContext("2d").drawImage(whole, x, y, sheet.width, sheet.height, 0, 0, sheet.width, sheet.height));
  return canvas;
}
const picture = (run, cell, label) => paint(el("canvas", label ? { class: "pixels", role: "img", "aria-label": label } : { class: "pixels", "aria-hidden": "true" }), run, cell);

const VIRIDIS = [[68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141], [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37]];
function viridis(share) { // the colour, and that of text on it
  const at = Math.min(Math.max(share, 0), 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2);
  const mixed = VIRIDIS[i].map((v, c) => Math.round(v + (VIRIDIS[i + 1][c] - v) * (at - i)));
  return [`rgb(${mixed})`, share > 0.5 ? "#000" : "#fff"];
}
