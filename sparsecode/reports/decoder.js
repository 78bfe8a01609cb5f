// The decoder of a variational model: from codes to samples, with the weights that are in `data`.
function decoderOf(data) {
  const [channels, height, width] = data.shape, K = data.n_code, pixels = channels * height * width;

  // ---- numbers
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer;
  const floats = (text) => new Float32Array(bytes(text));
  const rowsOf = (text, size) => {
    const all = floats(text);
    return Array.from({ length: all.length / size }, (_, i) => all.subarray(i * size, (i + 1) * size));
  };
  function weights({ integers, scale }) {
    const whole = new (data.bits === 8 ? Int8Array : Int16Array)(bytes(integers)), rows = floats(scale), columns = whole.length / rows.length;
    return Float32Array.from(whole, (value, i) => value * rows[Math.floor(i / columns)]);
  }
  const unpacked = (layer) => ({ ...layer, weight: weights(layer.weight), bias: floats(layer.bias) });
  const layers = data.layers.map(unpacked);
  const undo = data.undo && unpacked(data.undo), scale = data.scale && floats(data.scale), shift = data.shift && floats(data.shift);

  // ---- the decoder
  function erf(x) { // Abramowitz & Stegun 7.1.26, off by at most 1.5e-7
    const t = 1 / (1 + 0.3275911 * Math.abs(x));
    const y = 1 - ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t * Math.exp(-x * x);
    return x < 0 ? -y : y;
  }
  const shapes = {
    linear: (a) => a,
    relu: (a) => (a > 0 ? a : 0),
    gelu: (a) => 0.5 * a * (1 + erf(a / Math.SQRT2)),
    elu: (a) => (a > 0 ? a : Math.expm1(a)),
    tanh: Math.tanh,
    sigmoid: (a) => 1 / (1 + Math.exp(-a)),
    continuous: (a) => (Math.abs(a) < 0.03 ? 0.5 + a / 12 - (a * a * a) / 720 : -1 / Math.expm1(-a) - 1 / a),
  };
  const kinds = {
    affine({ weight, bias, activation }, x) {
      const on = [], n = x.length, f = shapes[activation];
      for (let j = 0; j < n; j++) if (x[j] !== 0) on.push(j); // codes and rectified units are mostly 0
      return Float64Array.from(bias, (offset, i) => {
        let sum = offset;
        for (const j of on) sum += weight[i * n + j] * x[j];
        return f(sum);
      });
    },
    transposed({ weight, bias, activation, maps: [from, to], side }, x) { // kernel 4, stride 2, padding 1
      const wide = 2 * side, sums = new Float64Array(to * wide * wide), f = shapes[activation];
      for (let i = 0; i < from; i++) for (let y = 0; y < side; y++) for (let u = 0; u < side; u++) {
        const value = x[(i * side + y) * side + u];
        if (value === 0) continue;
        for (let o = 0; o < to; o++) for (let a = 0; a < 4; a++) {
          const row = 2 * y - 1 + a;
          if (row < 0 || row >= wide) continue;
          for (let b = 0; b < 4; b++) {
            const column = 2 * u - 1 + b;
            if (column >= 0 && column < wide) sums[(o * wide + row) * wide + column] += value * weight[((i * to + o) * 4 + a) * 4 + b];
          }
        }
      }
      return sums.map((sum, i) => f(sum + bias[Math.floor(i / (wide * wide))]));
    },
  };
  function decode(z) {
    let x = z;
    for (const layer of layers) x = kinds[layer.kind](layer, x);
    x = x.map(shapes[data.mean]);
    return undo ? kinds.affine(undo, x) : x.map((value, i) => value * scale[i] + shift[i]);
  }
  return { channels, height, width, pixels, K, decode, floats, rowsOf };
}
