// ---- curves: values under the pointer, scales, tables
const curves = data.curves.map((curve) => ({
  ...curve,
  axis: { low: curve.axis[0], high: curve.axis[1], start: curve.axis[2], end: curve.axis[3] },
  values: once(() => curve.lines.map((line) => [numbers(line.steps), numbers(line.values)])),
}));

function nearest(steps, step) { // index in ascending steps
  let low = 0, high = steps.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle] < step) low = middle + 1; else high = middle;
  }
  return low > 0 && step - steps[low - 1] <= steps[low] - step ? low - 1 : low;
}

function scaled(figure, logarithmic) {
  const button = figure.querySelector("button.log");
  if (!button) return;
  button.setAttribute("aria-pressed", logarithmic);
  for (const group of figure.querySelectorAll(".scale")) group.toggleAttribute("hidden", (group.dataset.scale === "logarithmic") !== logarithmic);
  figure.dataset.shown = logarithmic ? "logarithmic" : "linear";
}

document.querySelectorAll("figure.curve").forEach((figure, i) => {
  const { axis, lines, values } = curves[i], plot = figure.querySelector("svg"), readout = figure.querySelector(".readout");
  const cursor = plot.querySelector(".cursor"), before = [...readout.childNodes];
  let at = null;
  function read(step) {
    at = step;
    const points = values().map(([steps, column]) => { const j = nearest(steps, step); return [steps[j], column[j]]; });
    const x = axis.start + ((step - axis.low) / (axis.high - axis.low)) * (axis.end - axis.start);
    fill(cursor, { x1: x, x2: x }, []).removeAttribute("hidden");
    readout.replaceChildren(...points.flatMap(([s, v], k) => [k ? " · " : "", `${lines[k].label} `, exactly(v), el("span", { class: "soft" }, ` (step ${s})`)]));
  }
  function leave() {
    at = null;
    cursor.setAttribute("hidden", "");
    readout.removeAttribute("aria-live");
    readout.replaceChildren(...before);
  }
  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * 360;
    const step = axis.low + ((x - axis.start) / (axis.end - axis.start)) * (axis.high - axis.low);
    const all = values().map(([steps]) => steps[nearest(steps, step)]);
    read(all.reduce((best, s) => (Math.abs(s - step) < Math.abs(best - step) ? s : best)));
  });
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("blur", leave);
  plot.addEventListener("keydown", (event) => {
    const move = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
    if (move === undefined) return;
    event.preventDefault();
    readout.setAttribute("aria-live", "polite");
    const steps = [...new Set(values().flatMap(([column]) => [...column]))].sort((a, b) => a - b);
    const here = at === null ? (move > 0 ? -1 : steps.length) : steps.indexOf(at);
    read(steps[Math.min(Math.max(here + move, 0), steps.length - 1)]);
  });
  figure.querySelector("button.log")?.addEventListener("click", () => scaled(figure, figure.dataset.shown !== "logarithmic"));
});

$("all-log")?.addEventListener("click", (event) => {
  const on = event.currentTarget.getAttribute("aria-pressed") !== "true";
  event.currentTarget.setAttribute("aria-pressed", on);
  document.querySelectorAll("figure.curve").forEach((figure) => scaled(figure, on));
});

const ROWS = 2000; // of a table of a curve
function tabulate() {
  const curve = curves[Number($("curve-choice").value)], columns = curve.values();
  const steps = [...new Set(columns.flatMap(([column]) => [...column]))].sort((a, b) => a - b);
  const known = columns.map(([column, values]) => new Map([...column].map((step, i) => [step, values[i]])));
  const shown = steps.slice(-ROWS);
  $("curve-table").replaceChildren(el("table", null,
    el("caption", null, `${$("curve-choice").selectedOptions[0].textContent}${shown.length < steps.length ? `: the last ${ROWS} of ${steps.length} steps` : ""}`),
    el("thead", null, el("tr", null, el("th", { scope: "col", class: "n" }, "step"), curve.lines.map((line) => el("th", { scope: "col", class: "n" }, visible(line.label))))),
    el("tbody", null, shown.map((step) => el("tr", null, el("th", { scope: "row", class: "n" }, String(step)), known.map((values) => el("td", { class: "n" }, values.has(step) ? exactly(values.get(step)) : "")))))));
}
$("curve-tables")?.addEventListener("toggle", () => { if ($("curve-tables").open) tabulate(); });
$("curve-choice")?.addEventListener("change", tabulate);
