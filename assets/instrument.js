// The live slider. Whatever can be known here is drawn here, at every input event: the histograms, because pruning takes
// the smallest and the dense bin counts give the survivors exactly; accuracy and loss, where they have been scored. Python
// follows, prunes and scores the real network, and what it measures takes the place of anything shown before.

const instruments = new WeakMap();
const FOLLOW_MS = 120;
const REST_MS = 200;
const PENDING = "…";
const SVG = "http://www.w3.org/2000/svg";
let plotly = null;

export default function (component) {
  const { data, parentElement, setStateValue } = component;
  let instrument = instruments.get(parentElement);
  if (!instrument) {
    instrument = new Instrument(parentElement.querySelector(".instrument"));
    instruments.set(parentElement, instrument);
  }
  instrument.tell = (at) => setStateValue("at", at);
  instrument.receive(data);
  return () => {
    instruments.delete(parentElement);
    instrument.close();
  };
}

function loadPlotly(url) {
  plotly ??= new Promise((resolve, reject) => {
    if (window.Plotly) return resolve(window.Plotly);
    const script = document.createElement("script");
    script.src = url;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => { plotly = null; reject(new Error(`cannot load ${url}`)); };
    document.head.append(script);
  });
  return plotly;
}

class Instrument {
  constructor(root) {
    this.root = root;
    this.find = (selector) => root.querySelector(selector);
    this.slider = this.find(".slider");
    this.percent = this.find(".percent");
    this.linked = this.find(".linked");
    this.histograms = this.find(".histograms");
    this.curve = this.find(".curve");
    this.overHistograms = new Overlay(this.histograms);
    this.overCurve = new Overlay(this.curve);
    this.sizes = new Map();
    this.resized = new ResizeObserver(() => {
      // Asking for a size in the middle of drawing would lay the page out anew each time.
      for (const figure of [this.histograms, this.curve]) this.sizes.set(figure, { width: figure.clientWidth, height: figure.clientHeight });
      this.draw();
    });
    for (const element of [root, this.histograms, this.curve]) this.resized.observe(element);
    this.slider.oninput = () => this.move(this.data.stops[this.slider.value], true);
    this.slider.onchange = () => this.settle();
    // What hovering says costs a new layout of the bars, so it is brought up to date when the pointer comes.
    this.histograms.onpointerenter = () => {
      if (this.left && this.Plotly) this.Plotly.restyle(this.histograms, { customdata: this.left });
    };
    this.percent.onchange = () => this.type();
    this.linked.onchange = () => this.link(this.linked.checked);
  }

  // What Python sends: once at the start, and again whenever it has measured something or the run has changed.
  async receive(data) {
    const fresh = this.data?.view !== data.view;
    this.data = data;
    if (fresh) {
      this.known = new Map();
      this.ks = data.k.split(",");
      this.slider.max = data.stops.length - 1;
      this.root.style.setProperty("--method-color", data.color);
      this.linked.closest("label").hidden = !data.separable;
      this.find(".hint").textContent = data.separable ? "of each hidden layer" : "of all hidden layers together";
      this.buildLayers();
    }
    for (const [key, [accuracy, loss]] of Object.entries(data.known)) this.learn(key, { accuracy, loss });
    if (data.measured) this.learn(data.measured.key, { ...data.measured, confirmed: true });
    this.histograms.style.height = `${240 * Math.ceil(data.layers.length / 2)}px`;
    this.draw();
    let Plotly;
    try {
      Plotly = await loadPlotly(data.plotly);
    } catch (error) {
      this.find(".status").textContent = `The figures cannot be drawn: ${error.message}. Reload the page.`;
      return;
    }
    if (this.data !== data || !this.root.isConnected) return;
    const config = { displayModeBar: false, responsive: true };
    const look = JSON.stringify(this.colors());
    if (fresh || look !== this.look) {
      await Plotly.react(this.histograms, data.histograms.data, this.themed(data.histograms.layout), config);
    }
    if (this.data !== data) return;
    const curve = JSON.stringify([data.curve, look]);
    if (fresh || curve !== this.drawnCurve) {
      await Plotly.react(this.curve, data.curve.data, this.themed(data.curve.layout), config);
      this.drawnCurve = curve;
    }
    if (this.data !== data) return;
    this.look = look;
    this.Plotly = Plotly;
    this.draw();
  }

  learn(key, score) {
    const earlier = this.known.get(key);
    if (!earlier?.confirmed || score.confirmed) this.known.set(key, { ...earlier, ...score });
  }

  // The state as Python and the address know it: one k, or one for each layer.
  get key() {
    return this.ks.join(",");
  }

  get each() {
    return this.data.layers.map((_, layer) => this.ks.length === 1 ? this.ks[0] : this.ks[layer]);
  }

  move(k, moving, layer = null) {
    if (layer === null) this.ks = this.ks.length === 1 ? [k] : this.ks.map(() => k);
    else this.ks[layer] = k;
    this.draw();
    this.follow(moving);
  }

  settle() {
    clearTimeout(this.timer);
    clearTimeout(this.rest);
    this.timer = null;
    this.tell({ view: this.data.view, key: this.key, moving: false });
  }

  follow(moving) {
    if (!moving) return this.settle();
    // A pointer that stays where it is has arrived, released or not.
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.settle(), REST_MS);
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.tell({ view: this.data.view, key: this.key, moving: true });
    }, FOLLOW_MS);
  }

  type() {
    const value = this.percent.valueAsNumber;
    this.percent.blur();
    if (!(value >= 0 && value <= 100)) return this.draw();
    this.move(String(Math.round(value * 1e4) / 1e6), false);
  }

  link(linked) {
    this.ks = linked ? [this.ks[0]] : this.each;
    this.draw();
    this.settle();
  }

  // Put a slider's thumb at the stop nearest to k.
  place(slider, k) {
    const { stops } = this.data;
    const nearest = stops.reduce((best, stop, index) => Math.abs(stop - k) < Math.abs(stops[best] - k) ? index : best, 0);
    slider.value = nearest;
    slider.style.setProperty("--at", `${100 * nearest / (stops.length - 1)}%`);
  }

  // How many weights or units of each layer are pruned, and the smallest that survives; null where not known yet.
  layersNow() {
    const measured = this.known.get(this.key);
    return this.each.map((k, layer) => {
      const stop = this.data.stops.indexOf(k);
      if (stop >= 0) return { pruned: this.data.pruned[stop][layer], threshold: this.data.thresholds[stop][layer] };
      if (measured?.pruned) return { pruned: measured.pruned[layer], threshold: measured.thresholds[layer] };
      return null;
    });
  }

  draw() {
    if (!this.data) return;
    const layers = this.layersNow();
    const score = this.known.get(this.key) ?? {};
    this.drawControls();
    this.drawMetrics(layers, score);
    if (this.Plotly && this.sizes.size) this.drawFigures(layers, score);
    this.root.dataset.measured = this.data.measured?.key ?? "";
    this.root.dataset.key = this.key;
    this.root.dataset.state = score.confirmed && this.Plotly ? "confirmed" : "following";
  }

  drawControls() {
    const mean = this.each.reduce((sum, k) => sum + Number(k), 0) / this.each.length;
    const k = this.ks.length === 1 ? this.ks[0] : String(mean);
    this.place(this.slider, k);
    // What is being typed is left alone.
    if (document.activeElement !== this.percent) this.percent.value = +(k * 100).toFixed(4);
    this.slider.setAttribute("aria-valuetext", `${this.percent.value} %`);
    this.linked.checked = this.ks.length === 1;
    this.root.dataset.linked = this.linked.checked;
  }

  drawMetrics(layers, score) {
    const { dense, hiddenWeights, networkWeights } = this.data;
    const zeroed = layers.map((layer, index) => layer && layer.pruned * this.data.layers[index].each);
    const total = zeroed.includes(null) ? null : zeroed.reduce((sum, count) => sum + count, 0);
    this.hiddenSparsity = total === null ? null : total / hiddenWeights;
    this.metric("accuracy", percent(score.accuracy), change(score.accuracy, dense.accuracy, 100, 2, " points"), score.accuracy - dense.accuracy);
    this.metric("loss", fixed(score.loss, 4), change(score.loss, dense.loss, 1, 4, ""), dense.loss - score.loss);
    this.metric("hidden", percent(this.hiddenSparsity), total === null ? "" : `${count(total)} of ${count(hiddenWeights)} weights`);
    this.metric("network", percent(total === null ? null : total / networkWeights), `of ${count(networkWeights)} weights; the output layer stays`);
    this.find(".status").textContent = score.confirmed
      ? `Pruned and scored on all ${count(this.data.images)} test images.`
      : score.accuracy === undefined ? "Pruning and scoring…" : "Scored earlier; measuring again…";
    this.find(".layers tbody").querySelectorAll("tr").forEach((row, index) => {
      const { weights } = this.data.layers[index];
      const cells = row.querySelectorAll("td");
      const slider = row.querySelector("input");
      if (slider) this.place(slider, this.each[index]);
      cells[2].textContent = percent(zeroed[index] === null ? null : zeroed[index] / weights);
      cells[3].textContent = zeroed[index] === null ? PENDING : count(zeroed[index]);
    });
  }

  metric(name, value, note, better = 0) {
    const box = this.find(`[data-metric=${name}]`);
    box.querySelector("output").textContent = value;
    const small = box.querySelector("small");
    small.textContent = note;
    small.className = better > 0 ? "better" : better < 0 ? "worse" : "";
  }

  drawFigures(layers, score) {
    const known = !layers.includes(null);
    const { counts, edges, color } = this.data;
    const left = known && layers.map(({ pruned }, layer) => survivors(counts[layer], pruned));
    this.histograms.classList.toggle("pending", !known);
    this.overHistograms.draw(!known ? [] : layers.flatMap(({ threshold }, layer) => {
      const at = scales(this.sizes.get(this.histograms), this.data.histograms.layout, layer);
      return [
        ["path", { d: bars(at, edges[layer], left[layer]), fill: color }],
        ["path", { d: threshold === null ? "" : `M${at.x(threshold)},${at.bottom}V${at.top}`, class: "threshold" }],
      ];
    }));
    const at = scales(this.sizes.get(this.curve), this.data.curve.layout, 0);
    const x = this.ks.length === 1 ? Number(this.ks[0]) : this.hiddenSparsity, y = score.accuracy;
    this.overCurve.draw(x === null ? [] : [
      ["path", { d: `M${at.x(x)},${at.bottom}V${at.top}`, class: "cursor" }],
      ...(y === undefined ? [] : [["circle", { cx: at.x(x), cy: at.y(y), r: 6.5, fill: color, class: "point" }]]),
    ]);
    this.left = left;
  }

  buildLayers() {
    const body = this.find(".layers tbody");
    body.replaceChildren(...this.data.layers.map(({ name, weights }, layer) => {
      const row = document.createElement("tr");
      row.innerHTML = "<td></td><td class='own'></td><td></td><td></td><td></td>";
      row.children[0].textContent = name;
      row.children[4].textContent = count(weights);
      const slider = Object.assign(document.createElement("input"), {
        type: "range", min: 0, max: this.data.stops.length - 1, step: 1, ariaLabel: `Sparsity k of ${name}`,
        oninput: () => this.move(this.data.stops[slider.value], true, layer),
        onchange: () => this.settle(),
      });
      row.children[1].append(slider);
      return row;
    }));
  }

  colors() {
    const style = getComputedStyle(this.root);
    return { text: style.getPropertyValue("--st-text-color"), grid: style.getPropertyValue("--st-border-color"), font: style.fontFamily };
  }

  themed(layout) {
    const { text, grid, font } = this.colors();
    const themed = { ...layout, font: { color: text, family: font, size: 12 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent" };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
      themed[name] = { ...layout[name], gridcolor: grid, zerolinecolor: grid, linecolor: grid };
    }
    return themed;
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.rest);
    this.resized.disconnect();
    for (const overlay of [this.overHistograms, this.overCurve]) overlay.svg.remove();
    if (this.Plotly) for (const figure of [this.histograms, this.curve]) this.Plotly.purge(figure);
  }
}

// Pruning takes the smallest: a bin with `below` counts under it loses what the pruned ones reach into it.
function survivors(counts, pruned) {
  let below = 0;
  return counts.map((bin) => {
    const left = Math.max(0, bin - Math.max(0, pruned - below));
    below += bin;
    return left;
  });
}

// Where a value of a subplot is, in pixels of its figure: margins, domains and ranges are fixed from Python.
function scales(size, layout, index) {
  const axis = (letter) => layout[`${letter}axis${index ? index + 1 : ""}`];
  const { l, r, t, b } = layout.margin;
  const scale = ({ domain = [0, 1], range }, length) => (value) =>
    length * (domain[0] + (domain[1] - domain[0]) * (value - range[0]) / (range[1] - range[0]));
  const across = scale(axis("x"), size.width - l - r);
  const height = size.height - t - b;
  const up = scale(axis("y"), height);
  const x = (value) => l + across(value), y = (value) => t + height - up(value);
  return { x, y, bottom: y(axis("y").range[0]), top: y(axis("y").range[1]) };
}

// The bars of a histogram as one path, with a gap between neighbours.
function bars(at, edges, counts) {
  const gap = 0.04 * (at.x(edges[1]) - at.x(edges[0]));
  return counts.map((height, bin) => height
    ? `M${at.x(edges[bin]) + gap},${at.bottom}V${at.y(height)}H${at.x(edges[bin + 1]) - gap}V${at.bottom}Z` : "").join("");
}

// A drawing over a figure that lets the pointer through.
class Overlay {
  constructor(figure) {
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.classList.add("overlay");
    figure.parentElement.append(this.svg);
  }

  draw(elements) {
    while (this.svg.childElementCount > elements.length) this.svg.lastChild.remove();
    elements.forEach(([name, attributes], index) => {
      let element = this.svg.children[index];
      if (element?.tagName !== name) {
        const made = document.createElementNS(SVG, name);
        element ? element.replaceWith(made) : this.svg.append(made);
        element = made;
      }
      for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    });
  }
}

const count = (number) => number.toLocaleString("en-US");
const fixed = (number, digits) => number === null || number === undefined ? PENDING : number.toFixed(digits);
const percent = (number) => number === null || number === undefined ? PENDING : `${(100 * number).toFixed(2)}%`;

function change(value, dense, scale, digits, unit) {
  if (value === undefined) return PENDING;
  const text = (scale * (value - dense)).toFixed(digits);
  return `${text >= 0 ? "+" : "−"}${Math.abs(text).toFixed(digits)}${unit} from dense`;
}
