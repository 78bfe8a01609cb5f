// ---- controls, keys and the address
function controls() {
  const m = model(), option = (value, label) => el("option", { value }, label);
  const names = m.columns.map((column) => visible(column.label));
  $("code-group").replaceChildren(option("", "all shown"), ...Object.entries(m.groups ?? {}).filter(([, codes]) => codes.length).map(([key, codes]) => option(key, `${GROUPS[key] ?? key.replaceAll("_", " ")} (${codes.length})`)));
  $("code-sort").replaceChildren(option("", m.columns.some((column) => column.key === "importance") ? "importance" : "order of the report"), ...names.map((name, i) => option(i, name)).filter((_, i) => m.columns[i].key !== "importance"), option("code", "number"), option("meaning", "what it stands for"));
  $("code-range").replaceChildren(...names.map((name, i) => option(i, name)));
  const sort = m.columns[Number(state.sort)]?.key === "importance" && state.sort !== "" ? "" : state.sort;
  $("code-group").value = state.group;
  $("code-sort").value = sort;
  $("code-range").value = state.range;
  $("code-search").value = state.search;
  $("code-low").value = Number.isFinite(state.low) ? state.low : "";
  $("code-high").value = Number.isFinite(state.high) ? state.high : "";
  $("code-order").setAttribute("aria-pressed", state.descending);
  $("code-mosaic").setAttribute("aria-pressed", state.mosaic);
  if ($("code-run")) $("code-run").value = state.run;
}
function change(part) {
  Object.assign(state, part);
  list.scrollTop = 0;
  controls();
  refresh();
}
function open(run) {
  if (run === state.run) return;
  change({ run, group: "", sort: "", range: 0, low: -Infinity, high: Infinity, search: "", selected: null });
}

function follow() { // the address: #code-12, #run-2-code-12, #group-dead
  const match = /^#(?:run-(\d+)-)?(code|group)-(\w+)$/.exec(location.hash);
  if (!match || state.run < 0) return false;
  const run = match[1] ? Number(match[1]) - 1 : models.findIndex((m) => m);
  if (!models[run]) return false;
  open(run);
  if (match[2] === "group") {
    change({ group: match[3], search: "", low: -Infinity, high: Infinity });
    $("browser").scrollIntoView();
    list.focus({ preventScroll: true });
    return true;
  }
  const code = Number(match[3]);
  if (!(code < model().n_code)) return false;
  choose(code, { quiet: true });
  $("code-view").scrollIntoView({ block: "nearest" });
  const box = $("code-view").getBoundingClientRect();
  if (box.top < 0 || box.top > innerHeight * 0.6) $("code-view").scrollIntoView();
  $("code-view").focus({ preventScroll: true });
  return true;
}

if (state.run >= 0) {
  const limit = (event, otherwise) => (event.target.value === "" ? otherwise : Number(event.target.value));
  $("code-search").addEventListener("input", (event) => change({ search: event.target.value }));
  $("code-group").addEventListener("change", (event) => change({ group: event.target.value }));
  $("code-sort").addEventListener("change", (event) => sortBy(event.target.value, true));
  $("code-order").addEventListener("click", () => change({ descending: !state.descending }));
  $("code-range").addEventListener("change", (event) => change({ range: Number(event.target.value) }));
  $("code-low").addEventListener("change", (event) => change({ low: limit(event, -Infinity) }));
  $("code-high").addEventListener("change", (event) => change({ high: limit(event, Infinity) }));
  $("code-mosaic").addEventListener("click", () => change({ mosaic: !state.mosaic }));
  $("code-reset").addEventListener("click", () => change({ group: "", sort: "", descending: true, low: -Infinity, high: Infinity, search: "" }));
  $("code-run")?.addEventListener("change", (event) => { open(Number(event.target.value)); choose(model().shown[0], { quiet: true }); });
  for (const figure of document.querySelectorAll("figure[data-range]")) figure.addEventListener("click", (event) => {
    const bar = event.target.closest("rect.bar-of"), range = model().columns.findIndex((column) => column.key === figure.dataset.range);
    if (bar && range >= 0) change({ range, low: Number(bar.dataset.low), high: Number(bar.dataset.high) });
  });
  let due = false;
  list.addEventListener("scroll", () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => { due = false; draw(); });
  }, { passive: true });
  list.addEventListener("keydown", (event) => {
    const across = state.mosaic ? 1 : 0, page = Math.max(1, Math.floor(list.clientHeight / (state.mosaic ? TILE : ROW)) - 2) * width;
    const move = { ArrowDown: width, ArrowUp: -width, ArrowRight: across, ArrowLeft: -across, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity }[event.key];
    if (event.key === "Enter" && state.selected !== null) { $("code-view").scrollIntoView({ block: "nearest" }); $("code-view").focus(); }
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    step(move);
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
    if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
    else if (event.key === "/") { event.preventDefault(); $("code-search").focus(); }
  });
  let before = list.clientWidth;
  new ResizeObserver(() => { if (list.clientWidth !== before) { before = list.clientWidth; layout(); } }).observe(list);
  controls();
  refresh();
  if (!follow() && model().shown.length) choose(model().shown[0], { quiet: true });
  addEventListener("hashchange", follow);
}
const sight = new IntersectionObserver((entries) => {
  for (const { isIntersecting, target } of entries) if (isIntersecting) {
    sight.unobserve(target);
    paint(target, Number(target.dataset.run), { sheet: target.dataset.sheet, index: Number(target.dataset.index) });
  }
}, { rootMargin: "600px" });
document.querySelectorAll("canvas[data-sheet]").forEach((canvas) => sight.observe(canvas));
addEventListener("beforeprint", () => document.querySelectorAll("canvas[data-sheet]").forEach((canvas) => paint(canvas, Number(canvas.dataset.run), { sheet: canvas.dataset.sheet, index: Number(canvas.dataset.index) })));
