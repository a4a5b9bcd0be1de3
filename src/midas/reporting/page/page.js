"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const data = JSON.parse($("data").textContent);
  const root = document.documentElement;
  const MISSING = { column: 65535, feature: 255 };
  const VIRIDIS = ["#440154", "#482878", "#3e4a89", "#31688e", "#26828e", "#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"];
  const BASE = ["#4c78a8", "#f58518", "#54a24b", "#e45756", "#b279a2", "#72b7b2", "#c5a000", "#9d755d", "#ff7fa7", "#7a9a01",
    "#6f6fd0", "#d37295", "#1d8f8f", "#b8860b", "#8cb3e2", "#a04e00", "#9fca6a", "#c95fc9", "#59728f", "#ffb36b"];
  const MOST_NAMED = 60;

  const element = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const words = (text) => new Uint16Array(bytes(text).buffer);
  const rgb = (hex) => [1, 3, 5].map((k) => parseInt(hex.slice(k, k + 2), 16));
  const packed = ([r, g, b]) => (0xff000000 | (b << 16) | (g << 8) | r) >>> 0;
  const number = (v) => (v !== 0 && (Math.abs(v) >= 1e5 || Math.abs(v) < 1e-2) ? v.toExponential(1) : String(Number(v.toPrecision(3))));
  const kept = new Map();
  const once = (key, make) => { if (!kept.has(key)) kept.set(key, make()); return kept.get(key); };

  // Golden-angle hues go on where the list ends.
  const category = (k) => {
    if (k < BASE.length) return BASE[k];
    const hue = (k * 137.508) % 360, light = 0.45 + 0.12 * (k % 3), c = 0.5 * Math.min(light, 1 - light);
    const f = (n) => { const m = (n + hue / 30) % 12; return Math.round(255 * (light - c * Math.max(-1, Math.min(m - 3, 9 - m, 1)))); };
    return "#" + [f(0), f(8), f(4)].map((v) => v.toString(16).padStart(2, "0")).join("");
  };
  const ramp = (() => {
    const table = new Uint32Array(256), stops = VIRIDIS.map(rgb);
    for (let i = 0; i < 256; i++) {
      const at = (i / 255) * (stops.length - 1), k = Math.min(stops.length - 2, Math.floor(at));
      table[i] = packed(stops[k].map((v, j) => Math.round(v + (stops[k + 1][j] - v) * (at - k))));
    }
    return table;
  })();

  const xy = words(data.xy), x = new Float32Array(data.n), y = new Float32Array(data.n);
  for (let i = 0; i < data.n; i++) { x[i] = xy[2 * i] / 65535; y[i] = xy[2 * i + 1] / 65535; }
  const plot = new Scatter($("scatter"), x, y);

  const columnCodes = (c) => once(`column ${c}`, () => words(data.columns[c].codes));
  const featureCodes = (f, kind) => once(`${kind} ${f}`, () => bytes(data.features[f][kind]));
  const columnText = (c, i) => {
    const column = data.columns[c], code = columnCodes(c)[i];
    if (code === MISSING.column) return "missing";
    return column.categories ? column.categories[code] : number(column.low + (code / 65534) * (column.high - column.low));
  };
  const featureValue = (f, share) => {
    const { low, high, log } = data.features[f], v = low + share * (high - low);
    return log ? Math.expm1(v) : v;
  };
  // Measured counts are whole; 255 steps blur them.
  const written = (v, whole) => number(whole ? Math.round(v) : v);
  const featureText = (f, kind, i) => {
    const code = featureCodes(f, kind)[i];
    return code === MISSING.feature ? "not measured" : (code === 254 ? "≥ " : "≈ ") + written(featureValue(f, code / 254), kind === "measured" && data.features[f].log);
  };

  // ------------------------------------------------------------------------------------------------ theme
  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const setTheme = (name) => {
    root.dataset.theme = name;
    $("theme").textContent = name === "dark" ? "Light" : "Dark";
    plot.background = packed(rgb(style("--back")));
    plot.faint = packed(rgb(name === "dark" ? "#333a42" : "#e3e6ea"));
    plot.ink = style("--ink");
    recolour();
  };
  $("theme").addEventListener("click", () => setTheme(root.dataset.theme === "dark" ? "light" : "dark"));
  dark.addEventListener("change", (event) => setTheme(event.matches ? "dark" : "light"));

  // ----------------------------------------------------------------------------------------------- colour
  const by = $("by");
  const group = (title, options) => {
    if (!options.length) return;
    const made = element("optgroup", undefined, { label: title });
    for (const [value, text] of options) made.append(element("option", text, { value }));
    by.append(made);
  };
  group("Cells", data.columns.map((column, c) => [`c${c}`, column.name]));
  for (const modality of new Set(data.features.map((f) => f.modality))) {
    group(modality, data.features.map((f, k) => [`f${k}`, f.name, f.modality]).filter((o) => o[2] === modality));
  }
  let picked = new Set();
  const absent = () => packed(rgb(root.dataset.theme === "dark" ? "#4b535c" : "#c9ced4"));
  const kindOf = () => document.querySelector("input[name=kind]:checked").value;

  function recolour() {
    const at = Number(by.value.slice(1)), isColumn = by.value[0] === "c", none = absent();
    $("kind").disabled = isColumn;
    const codes = isColumn ? columnCodes(at) : featureCodes(at, kindOf());
    const column = isColumn ? data.columns[at] : null;
    if (column && column.categories) {
      const colours = Uint32Array.from(column.categories, (_, k) => packed(rgb(category(k))));
      for (let i = 0; i < data.n; i++) plot.colours[i] = codes[i] === MISSING.column ? none : colours[codes[i]];
      plot.shown = picked.size ? Uint8Array.from(codes, (code) => (picked.has(code) ? 1 : 0)) : null;
      categoryLegend(column, codes);
    } else {
      const missing = isColumn ? MISSING.column : MISSING.feature, most = missing - 1;
      for (let i = 0; i < data.n; i++) plot.colours[i] = codes[i] === missing ? none : ramp[Math.round((codes[i] / most) * 255)];
      plot.shown = codes.includes(missing) ? Uint8Array.from(codes, (code) => (code === missing ? 0 : 1)) : null;
      numberLegend(at, isColumn, codes, missing);
    }
    plot.redraw();
  }

  const toggle = (code) => {
    if (picked.has(code)) picked.delete(code); else picked.add(code);
    recolour();
    const again = document.querySelector(`#legend button[data-code="${code}"]`);
    if (again) again.focus();
  };

  function categoryLegend(column, codes) {
    const counts = new Map();
    for (const code of codes) counts.set(code, (counts.get(code) || 0) + 1);
    const rows = column.categories.map((name, code) => [code, name]).filter(([code]) => counts.has(code));
    if (counts.has(MISSING.column)) rows.push([MISSING.column, "missing"]);
    const entries = rows.slice(0, MOST_NAMED).map(([code, name]) => {
      const hex = code === MISSING.column ? null : category(code);
      const row = element("button", undefined, { type: "button", "data-code": code, "aria-pressed": picked.size === 0 || picked.has(code) });
      const dot = element("span", "", { class: "dot" });
      dot.style.background = hex || "#9aa1a8";
      row.append(dot, element("span", name), element("span", counts.get(code).toLocaleString("en"), { class: "count" }));
      row.addEventListener("click", () => toggle(code));
      return row;
    });
    if (rows.length > MOST_NAMED) entries.push(element("p", `and ${rows.length - MOST_NAMED} more`, { class: "quiet" }));
    $("legend").replaceChildren(element("h3", column.name), ...entries);
  }

  function numberLegend(at, isColumn, codes, missing) {
    const source = isColumn ? data.columns[at] : data.features[at];
    const bar = element("div", "", { class: "bar" }), ends = element("div", undefined, { class: "ends" });
    bar.style.background = `linear-gradient(to right, ${VIRIDIS.join(",")})`;
    const low = isColumn ? source.low : featureValue(at, 0), high = isColumn ? source.high : featureValue(at, 1);
    ends.append(element("span", number(low)), element("span", number(high)));
    const parts = [element("h3", isColumn ? source.name : `${source.name} (${source.modality}, ${kindOf()})`), bar, ends];
    if (!isColumn && source.log) parts.push(element("p", "counts, on a logarithmic scale", { class: "quiet" }));
    const lost = codes.reduce((n, code) => n + (code === missing), 0);
    if (lost) parts.push(element("p", `${lost.toLocaleString("en")} cells ${isColumn ? "without a value" : "not measured"} (grey)`, { class: "quiet" }));
    $("legend").replaceChildren(...parts);
  }
  by.addEventListener("change", () => { picked = new Set(); hide(); recolour(); });
  for (const radio of document.querySelectorAll("input[name=kind]")) radio.addEventListener("change", recolour);

  // ------------------------------------------------------------------------------------------------- cells
  const tip = $("tip"), canvas = plot.canvas;
  const shownColumns = [...new Set([0, 1, data.columns.findIndex((c) => c.name === data.label)])].filter((c) => c >= 0 && c < data.columns.length);

  function show(i) {
    if (plot.marked === i && !tip.hidden) return;
    plot.marked = i;
    const lines = shownColumns.map((c) => element("span", `${data.columns[c].name}: ${columnText(c, i)}`));
    const at = Number(by.value.slice(1));
    if (by.value[0] === "f") {
      for (const kind of ["measured", "imputed"]) lines.push(element("span", `${data.features[at].name}, ${kind}: ${featureText(at, kind, i)}`));
    } else if (!shownColumns.includes(at)) lines.push(element("span", `${data.columns[at].name}: ${columnText(at, i)}`));
    tip.replaceChildren(element("b", data.names.length ? data.names[i] : "cell"), ...lines);
    tip.hidden = false;
    const [px, py] = plot.toScreen(i);
    const flipX = px + 14 + tip.offsetWidth > canvas.clientWidth, flipY = py + 14 + tip.offsetHeight > canvas.clientHeight;
    tip.style.left = `${Math.max(2, flipX ? px - 14 - tip.offsetWidth : px + 14)}px`;
    tip.style.top = `${Math.max(2, flipY ? py - 14 - tip.offsetHeight : py + 14)}px`;
    plot.redraw();
  }
  function hide() {
    if (plot.marked < 0 && tip.hidden) return;
    plot.marked = -1; tip.hidden = true; plot.redraw();
  }
  if ($("find")) $("find").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    const names = once("lower", () => data.names.map((name) => name.toLowerCase()));
    let i = wanted ? names.indexOf(wanted) : -1;
    if (i < 0 && wanted) i = names.findIndex((name) => name.includes(wanted));
    if (i < 0) { hide(); return; }
    const [px, py] = plot.toScreen(i);
    if (px < 0 || py < 0 || px > canvas.clientWidth || py > canvas.clientHeight) plot.whole();
    show(i);
  });

  // ------------------------------------------------------------------------------------- pointer, keyboard
  const pointers = new Map();
  const place = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  const drag = (from, to) => { const [ax, ay] = plot.toData(...from), [bx, by_] = plot.toData(...to); plot.move(ax - bx, ay - by_); };
  canvas.addEventListener("pointerdown", (event) => {
    pointers.set(event.pointerId, place(event));
    if (event.pointerType === "mouse") canvas.setPointerCapture(event.pointerId);
    canvas.focus({ preventScroll: true });
    if (event.pointerType !== "mouse") { const i = plot.nearest(...place(event), 22); if (i >= 0) show(i); else hide(); }
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event), before = pointers.get(event.pointerId);
    if (!before) { const i = plot.nearest(...now, 12); if (i >= 0) show(i); else hide(); return; }
    if (pointers.size === 2) {
      const other = [...pointers].find(([id]) => id !== event.pointerId)[1];
      const middle = (a, b) => [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2], gap = (a, b) => Math.hypot(a[0] - b[0], a[1] - b[1]);
      drag(middle(before, other), middle(now, other));
      plot.zoom(gap(now, other) / Math.max(1, gap(before, other)), ...middle(now, other));
      hide();
    } else if (Math.hypot(now[0] - before[0], now[1] - before[1]) > 0) { hide(); drag(before, now); }
    pointers.set(event.pointerId, now);
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
  canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && !pointers.size) hide(); });
  // The wheel scrolls the page until the plot was clicked, so that no one is caught in it.
  canvas.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== canvas) return;
    event.preventDefault();
    hide();
    plot.zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.002)), ...place(event));
  }, { passive: false });
  const step = () => 0.08 / plot.view.zoom;
  const keys = {
    "+": () => plot.zoom(1.3), "=": () => plot.zoom(1.3), "-": () => plot.zoom(1 / 1.3), "0": () => plot.whole(), "Escape": hide,
    "ArrowLeft": () => plot.move(-step(), 0), "ArrowRight": () => plot.move(step(), 0), "ArrowUp": () => plot.move(0, step()), "ArrowDown": () => plot.move(0, -step()),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (event.key !== "Escape") hide();
    keys[event.key]();
  });
  const press = { in: keys["+"], out: keys["-"], whole: keys["0"] };
  for (const [id, act] of Object.entries(press)) $(id).addEventListener("click", () => { hide(); act(); });

  // ------------------------------------------------------------------------------------------------- begin
  const first = data.columns.findIndex((c) => c.name === data.label);
  by.value = `c${first >= 0 ? first : 0}`;
  setTheme(dark.matches ? "dark" : "light");
  new ResizeObserver(() => { hide(); plot.resize(); }).observe($("frame"));
  plot.resize();
  window.midasPlot = plot; // for tests and for the curious
})();
