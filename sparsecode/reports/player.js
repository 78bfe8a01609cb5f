// Pictures of a variational model's codes that change with sliders: builds its elements in `root` and returns what tests look at.
// `link` gives the address of a code's description, where there is one.
function livePlayer(root, data, link = null) {
  const { channels, height, width, pixels, K, decode, floats, rowsOf } = decoderOf(data);
  const names = ["title", "about", "input", "caption", "output", "stems", "status", "presets", "sliders", "check"];
  root.classList.add("player");
  root.append(document.getElementById("player").content.cloneNode(true));
  const part = Object.fromEntries(names.map((name) => [name, root.querySelector(`[data-part="${name}"]`)]));

  // ---- pictures
  function paint(canvas, values) {
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d"), [low, high] = data.span;
    if (!values) return context.clearRect(0, 0, width, height);
    const image = context.createImageData(width, height), plane = height * width;
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) image.data[4 * i + c] = (255 * (values[(channels === 3 ? c * plane : 0) + i] - low)) / (high - low);
      image.data[4 * i + 3] = 255;
    }
    context.putImageData(image, 0, 0);
  }

  const codes = rowsOf(data.codes, K), samples = rowsOf(data.samples, pixels), prior = rowsOf(data.prior, K);
  const largest = [...codes, ...prior].reduce((most, row) => row.reduce((m, v) => Math.max(m, Math.abs(v)), most), 0);
  const reach = Math.max(3, Math.ceil(2 * largest) / 2);
  let z = new Float32Array(K), chosen = null, drawn = 0;

  const signed = (value) => (value === 0 ? "0" : (value > 0 ? "+" : "−") + Math.abs(value).toFixed(2));
  const stems = part.stems, place = { left: 34, right: 10, top: 8, bottom: 18 };
  const atX = (j, w) => place.left + ((j + 0.5) / K) * (w - place.left - place.right);
  function plot() {
    const { width: w, height: h } = stems.getBoundingClientRect();
    const atY = (v) => place.top + ((reach - v) / (2 * reach)) * (h - place.top - place.bottom);
    stems.setAttribute("viewBox", `0 0 ${w} ${h}`);
    const radius = Math.max(2.8, Math.min(4, w / K / 2));
    let marks = '<g class="axis">';
    for (const v of [-reach, 0, reach]) {
      marks += `<line x1="${place.left}" x2="${w - place.right}" y1="${atY(v)}" y2="${atY(v)}"></line>`;
      marks += `<text x="${place.left - 6}" y="${atY(v) + 4}" text-anchor="end">${v > 0 ? "+" : v < 0 ? "−" : ""}${Math.abs(v)}</text>`;
    }
    marks += `<text x="${atX(0, w)}" y="${h - 3}" text-anchor="middle">0</text><text x="${atX(K - 1, w)}" y="${h - 3}" text-anchor="middle">${K - 1}</text></g>`;
    z.forEach((v, j) => {
      if (v === 0 && j !== chosen) return;
      marks += `<g class="${j === chosen ? "chosen" : ""}"><line x1="${atX(j, w)}" x2="${atX(j, w)}" y1="${atY(0)}" y2="${atY(v)}"></line>`;
      marks += `<circle cx="${atX(j, w)}" cy="${atY(v)}" r="${radius}"></circle></g>`;
    });
    stems.innerHTML = marks;
  }

  let due = false;
  function show() { // at most once per frame of the screen
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      paint(part.output, decode(z));
      plot();
      for (const [j, { row, input, output }] of sliders) {
        row.classList.toggle("on", z[j] !== 0);
        if (Number(input.value) !== z[j]) input.value = z[j];
        const at = 50 + (50 * z[j]) / reach; // per cent, filled from the middle
        input.style.setProperty("--low", `${Math.min(50, at)}%`);
        input.style.setProperty("--high", `${Math.max(50, at)}%`);
        output.textContent = signed(z[j]);
      }
      const active = z.reduce((n, v) => n + (v !== 0), 0);
      part.status.textContent = `${active} of ${K} codes active` + (chosen === null ? "" : ` · code ${chosen} at ${signed(z[chosen])}`);
    });
  }

  // ---- sliders
  const sliders = new Map();
  for (const j of data.sliders) {
    const row = document.createElement("label"), name = document.createElement(link ? "a" : "span");
    const input = document.createElement("input"), output = document.createElement("output");
    name.textContent = j;
    if (link) name.href = link(j);
    Object.assign(input, { type: "range", min: -reach, max: reach, step: 0.05, value: 0 });
    input.setAttribute("aria-label", `code ${j}`);
    const set = (value) => { z[j] = value; chosen = j; show(); };
    input.addEventListener("input", () => set(Number(input.value)));
    input.addEventListener("focus", () => { chosen = j; show(); });
    input.addEventListener("keydown", (event) => { if (event.key === "0") set(0); });
    row.append(name, input, output);
    part.sliders.append(row);
    sliders.set(j, { row, input, output });
  }
  stems.addEventListener("click", (event) => {
    const box = stems.getBoundingClientRect(), x = event.clientX - box.left;
    const [nearest] = [...sliders.keys()].sort((a, b) => Math.abs(atX(a, box.width) - x) - Math.abs(atX(b, box.width) - x));
    if (nearest !== undefined) sliders.get(nearest).input.focus();
  });

  // ---- what to start from
  function start(code, values, caption, button) {
    z = Float32Array.from(code);
    chosen = null;
    paint(part.input, values);
    part.caption.textContent = caption;
    part.input.setAttribute("aria-label", caption);
    for (const other of part.presets.querySelectorAll("button")) other.setAttribute("aria-pressed", other === button);
    show();
  }
  function preset(label, action) {
    const button = document.createElement("button");
    button.type = "button";
    button.setAttribute("aria-pressed", false);
    if (label !== null) button.textContent = label;
    button.addEventListener("click", () => action(button));
    part.presets.append(button);
    return button;
  }
  samples.forEach((values, i) => {
    const caption = `test sample ${data.rows[i]}`;
    const button = preset(null, (pressed) => start(codes[i], values, caption, pressed)), thumbnail = document.createElement("canvas");
    button.className = "sample";
    button.title = caption;
    button.setAttribute("aria-label", caption);
    paint(thumbnail, values);
    button.append(thumbnail);
  });
  part.presets.append(Object.assign(document.createElement("div"), { className: "break" }));
  preset("Draw from the prior", (pressed) => start(prior[drawn++ % prior.length], null, "no sample", pressed));
  preset("Zero", (pressed) => start(new Float32Array(K), null, "no sample", pressed));

  // ---- words, and the comparison with the model
  part.title.textContent = data.title;
  part.about.textContent = `${height} × ${width} ${channels === 3 ? "colour" : "grey"} images · ${K} codes, ${data.used} of them used` +
    (data.sliders.length < data.used ? `, sliders for the ${data.sliders.length} most used` : "");
  const probes = rowsOf(data.probes, K), expected = rowsOf(data.expected, pixels);
  const difference = probes.reduce((most, code, i) =>
    decode(code).reduce((m, value, f) => Math.max(m, Math.abs(value - expected[i][f])), most), 0) / (data.span[1] - data.span[0]);
  part.check.textContent = `Decoded here, offline; at most ${difference.toExponential(0)} of the data range from the model's own decodings of ${probes.length} codes, ` +
    `with ${data.weights.toLocaleString("en")} weights of the decoder at ${data.bits} bits.`;
  start(codes[0], samples[0], `test sample ${data.rows[0]}`, part.presets.querySelector("button"));
  new ResizeObserver(plot).observe(stems);
  return { data, sliders, prior, codes, part, difference, z: () => z, due: () => due };
}
