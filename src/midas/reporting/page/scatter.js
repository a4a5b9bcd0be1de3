"use strict";
// Points drawn straight into an image: 50,000 take a few milliseconds, with no graphics card asked for.
class Scatter {
  constructor(canvas, x, y) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.x = x; this.y = y; this.n = x.length;
    this.order = Scatter.shuffled(this.n);
    this.colours = new Uint32Array(this.n).fill(0xff888888);
    this.shown = null; // 1 for cells in front, null for all
    this.view = { x: 0.5, y: 0.5, zoom: 1 };
    this.marked = -1;
    this.waiting = false;
    this.lastMs = 0;
    this.cells = Scatter.grid(x, y);
  }

  // Random order, so that no group lies on top of the others; the same one each time.
  static shuffled(n) {
    const order = new Uint32Array(n);
    let seed = 12345;
    for (let i = 0; i < n; i++) {
      seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
      const j = Math.floor((seed / 4294967296) * (i + 1));
      order[i] = order[j];
      order[j] = i;
    }
    return order;
  }

  static grid(x, y) {
    const side = Math.max(1, Math.min(256, Math.ceil(Math.sqrt(x.length / 4))));
    const at = (i) => Math.min(side - 1, Math.floor(y[i] * side)) * side + Math.min(side - 1, Math.floor(x[i] * side));
    const start = new Uint32Array(side * side + 1);
    for (let i = 0; i < x.length; i++) start[at(i) + 1]++;
    for (let g = 0; g < side * side; g++) start[g + 1] += start[g];
    const next = start.slice(), members = new Uint32Array(x.length);
    for (let i = 0; i < x.length; i++) members[next[at(i)]++] = i;
    return { side, start, members };
  }

  resize() {
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    const width = Math.max(1, Math.round(this.canvas.clientWidth * ratio));
    const height = Math.max(1, Math.round(this.canvas.clientHeight * ratio));
    if (this.image && this.canvas.width === width && this.canvas.height === height) return;
    this.canvas.width = width; this.canvas.height = height; this.ratio = ratio;
    this.image = this.context.createImageData(width, height);
    this.pixels = new Uint32Array(this.image.data.buffer);
    this.redraw();
  }

  get scale() { return Math.min(this.canvas.width, this.canvas.height) * 0.92 * this.view.zoom; }

  radius() {
    const base = this.n > 20000 ? 1.1 : this.n > 5000 ? 1.6 : this.n > 1000 ? 2.4 : 3.5;
    return Math.min(9, base * Math.sqrt(this.view.zoom)) * this.ratio;
  }

  // How much of each pixel of a small square a disc covers.
  stamp() {
    const r = this.radius(), half = Math.ceil(r), found = [];
    for (let dy = -half; dy <= half; dy++) for (let dx = -half; dx <= half; dx++) {
      const cover = Math.max(0, Math.min(1, r + 0.5 - Math.hypot(dx, dy)));
      if (cover > 0.05) found.push([dx, dy, cover > 0.95 ? 256 : Math.round(cover * 256)]);
    }
    return { half, found };
  }

  redraw() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => { this.waiting = false; this.draw(); });
  }

  draw() {
    if (!this.image) return;
    const begun = performance.now();
    const { pixels, canvas, x, y, order, colours, shown } = this;
    const width = canvas.width, height = canvas.height;
    pixels.fill(this.background);
    const { half, found } = this.stamp();
    const offsets = Int32Array.from(found, ([dx, dy]) => dy * width + dx), covers = Int32Array.from(found, (f) => f[2]);
    const s = this.scale, left = width / 2 - this.view.x * s, top = height / 2 - (1 - this.view.y) * s;
    for (let pass = shown ? 0 : 1; pass < 2; pass++) {
      for (let k = 0; k < order.length; k++) {
        const i = order[k];
        if (shown && shown[i] !== pass) continue;
        const px = Math.round(left + x[i] * s), py = Math.round(top + (1 - y[i]) * s);
        if (px < half || py < half || px >= width - half || py >= height - half) continue;
        const colour = pass ? colours[i] : this.faint, at = py * width + px;
        const r = colour & 255, g = (colour >> 8) & 255, b = (colour >> 16) & 255;
        for (let j = 0; j < offsets.length; j++) {
          const p = at + offsets[j], a = covers[j];
          if (a === 256) { pixels[p] = colour; continue; }
          const old = pixels[p], or = old & 255, og = (old >> 8) & 255, ob = (old >> 16) & 255;
          pixels[p] = 0xff000000 | ((ob + (((b - ob) * a) >> 8)) << 16) | ((og + (((g - og) * a) >> 8)) << 8) | (or + (((r - or) * a) >> 8));
        }
      }
    }
    this.context.putImageData(this.image, 0, 0);
    if (this.marked >= 0) this.mark(left + x[this.marked] * s, top + (1 - y[this.marked]) * s);
    this.lastMs = performance.now() - begun;
  }

  mark(px, py) {
    const c = this.context;
    c.beginPath();
    c.arc(px, py, this.radius() + 4 * this.ratio, 0, 2 * Math.PI);
    c.lineWidth = 2 * this.ratio;
    c.strokeStyle = this.ink;
    c.stroke();
  }

  // From CSS pixels to the unit square and back.
  toData(px, py) {
    const s = this.scale / this.ratio;
    return [this.view.x + (px - this.canvas.clientWidth / 2) / s, this.view.y - (py - this.canvas.clientHeight / 2) / s];
  }

  toScreen(i) {
    const s = this.scale / this.ratio;
    return [this.canvas.clientWidth / 2 + (this.x[i] - this.view.x) * s, this.canvas.clientHeight / 2 - (this.y[i] - this.view.y) * s];
  }

  nearest(px, py, within) {
    const [x, y] = this.toData(px, py), reach = (within * this.ratio) / this.scale, { side, start, members } = this.cells;
    const clamp = (v) => Math.max(0, Math.min(side - 1, Math.floor(v * side)));
    let best = -1, least = reach * reach;
    for (let gy = clamp(y - reach); gy <= clamp(y + reach); gy++) for (let gx = clamp(x - reach); gx <= clamp(x + reach); gx++) {
      for (let k = start[gy * side + gx]; k < start[gy * side + gx + 1]; k++) {
        const i = members[k], d = (this.x[i] - x) ** 2 + (this.y[i] - y) ** 2;
        if (d < least && (!this.shown || this.shown[i])) { least = d; best = i; }
      }
    }
    return best;
  }

  zoom(factor, px = this.canvas.clientWidth / 2, py = this.canvas.clientHeight / 2) {
    const [x, y] = this.toData(px, py);
    this.view.zoom = Math.max(0.5, Math.min(200, this.view.zoom * factor));
    const [nx, ny] = this.toData(px, py);
    this.move(x - nx, y - ny);
  }

  move(dx, dy) {
    const clamp = (v) => Math.max(-0.2, Math.min(1.2, v));
    this.view.x = clamp(this.view.x + dx);
    this.view.y = clamp(this.view.y + dy);
    this.redraw();
  }

  whole() { this.view = { x: 0.5, y: 0.5, zoom: 1 }; this.redraw(); }
}
