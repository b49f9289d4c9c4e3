// The live slider. Whatever can be known here is drawn here, at every input event: the histograms, because pruning takes
// the smallest and the dense bin counts give the survivors exactly; accuracy and loss, where they have been scored. Python
// follows, prunes and scores the real network, and what it measures takes the place of anything shown before.

const FOLLOW_MS = 120;
const REST_MS = 200;
const AWAY = "Disconnected: what is measured comes once the server is back.";
let plotly = null;
// Python tells by it whether it has heard of a position already.
let serial = Date.now();

export default function (component) {
  return last(component, (parent) => new Instrument(parent.querySelector(".instrument")), (at) => component.setStateValue("at", at));
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
    this.listen(this.slider);
    // What hovering says costs a new layout of the bars, so it is brought up to date when the pointer comes.
    this.histograms.onpointerenter = () => {
      if (this.left && this.Plotly) this.Plotly.restyle(this.histograms, { customdata: this.left });
    };
    this.percent.onchange = () => this.type();
    this.linked.onchange = () => this.link(this.linked.checked);
    this.play = new Play(this.find(".play"), this);
    this.slider.onpointerdown = () => this.play.pause();
    this.connected = () => this.draw();
    document.addEventListener("pruning:connection", this.connected);
    this.address = new Address((k) => this.back(k));
  }

  // What Python sends: once at the start, and again whenever it has measured something or the run has changed.
  async receive(data) {
    const fresh = this.data?.subject !== data.subject;
    this.data = data;
    if (fresh || data.stops.join() !== this.scale.stops.join()) {
      this.scale = new Scale(data.scale, data.stops);
      this.scale.mark(this.find(".marks"));
      this.slider.max = this.scale.last;
    }
    if (fresh) {
      this.known = new Map();
      this.ks = data.k.split(",");
      this.root.style.setProperty("--method-color", data.colors.method);
      this.root.style.setProperty("--pruned-color", data.colors.pruned);
      this.own = null;
      this.play.pause();
      this.linked.closest("label").hidden = !data.separable;
      this.find(".hint").textContent = data.of;
      this.buildLayers();
    }
    for (const [key, [accuracy, loss]] of Object.entries(data.known)) this.learn(key, { accuracy, loss });
    if (data.measured) this.learn(data.measured.key, { ...data.measured, confirmed: true });
    this.root.dataset.view = data.view;
    this.histograms.style.height = `${data.heights.histograms}px`;
    this.curve.style.height = `${data.heights.curve}px`;
    this.draw();
    if (data.view === "short") return;
    let Plotly;
    try {
      Plotly = await loadPlotly(data.plotly);
    } catch (error) {
      this.find(".status").textContent = `The figures cannot be drawn: ${error.message}. Reload the page.`;
      return;
    }
    if (this.data !== data || !this.root.isConnected) return;
    const config = { displayModeBar: false, responsive: true };
    const look = JSON.stringify(colorsOf(this.root));
    if (fresh || look !== this.look) {
      await Plotly.react(this.histograms, data.histograms.data, themed(data.histograms.layout, this.root), config);
    }
    if (this.data !== data) return;
    const curve = JSON.stringify([data.curve, look]);
    if (fresh || curve !== this.drawnCurve) {
      await Plotly.react(this.curve, data.curve.data, themed(data.curve.layout, this.root), config);
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

  // Of all layers, or of one.
  listen(slider, layer = null) {
    guard(slider);
    slider.oninput = () => {
      const k = this.scale.chosen(slider);
      // The stop where it is already; the thumb goes back there.
      if (k === (layer === null ? this.key : this.each[layer])) this.scale.put(slider, k);
      else this.move(k, true, layer);
    };
    slider.onchange = () => this.settle();
  }

  move(k, moving, layer = null) {
    if (layer === null) this.ks = this.ks.length === 1 ? [k] : this.ks.map(() => k);
    else this.ks[layer] = k;
    this.complain("");
    this.draw();
    this.follow(moving);
  }

  // The pointer rests, or (released) has been let go.
  settle(released = true) {
    clearTimeout(this.timer);
    clearTimeout(this.rest);
    this.timer = null;
    this.address.write(this.key, released);
    this.tell({ subject: this.data.subject, key: this.key, moving: false, serial: ++serial });
  }

  follow(moving) {
    if (!moving) return this.settle();
    // A pointer that stays where it is has arrived, released or not.
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.settle(false), REST_MS);
    this.timer ??= setTimeout(() => {
      this.timer = null;
      this.tell({ subject: this.data.subject, key: this.key, moving: true, serial: ++serial });
    }, FOLLOW_MS);
  }

  type() {
    const text = this.percent.value.trim();
    const value = /^\d*[.,]?\d*$/.test(text) ? parseFloat(text.replace(",", ".")) : NaN;
    if (!(value >= 0 && value <= 100)) {
      this.complain(`Expected a percentage from 0 to 100, such as 93.7. Received: ${text ? `“${text.slice(0, 20)}”` : "nothing"}.`);
      return;
    }
    this.percent.blur();
    const k = String(Math.round(value * 1e4) / 1e6);
    this.move(this.data.any ? k : this.scale.nearest(k), false);
  }

  complain(problem) {
    this.find(".problem").textContent = problem;
    this.percent.ariaInvalid = String(Boolean(problem));
  }

  // One k for all layers goes on where the layers stood together; what each had is kept for unlinking again.
  link(linked) {
    if (linked) {
      this.own = this.ks;
      this.ks = [this.scale.nearest(this.together)];
    } else {
      this.ks = this.own ?? this.each;
    }
    this.draw();
    this.settle();
  }

  // The back and forward buttons: the address says k, and Python is told without another step.
  back(k) {
    const ks = (k ?? "").split(",");
    const fits = ks.length === 1 || (this.data?.separable && ks.length === this.data.layers.length);
    if (!this.data || !fits || !ks.every((each) => each !== "" && each >= 0 && each <= 1)) return;
    this.play.pause();
    this.ks = ks;
    this.address.inDrag = false;
    this.draw();
    this.tell({ subject: this.data.subject, key: this.key, moving: false, serial: ++serial });
  }

  // One k, or the part of all hidden weights that several ask for.
  get together() {
    if (this.ks.length === 1) return Number(this.ks[0]);
    const { layers, hiddenWeights } = this.data;
    return layers.reduce((sum, { weights }, layer) => sum + this.ks[layer] * weights, 0) / hiddenWeights;
  }

  // What is known of the repaired network at this k that is still being made.
  get coming() {
    return this.data.coming?.key === this.key ? this.data.coming : null;
  }

  // How many weights of each layer are zero, what its histogram loses, and the smallest that survives; null where not
  // known yet.
  layersNow() {
    const measured = this.known.get(this.key);
    if (this.data.kept) {
      // What was won back is not the largest of what was there, so nothing can be told before it is known.
      const kept = this.data.kept[this.key];
      if (kept) return this.each.map((_, layer) => ({ zeroed: kept.zeroed[layer], threshold: null, bars: kept.bars[layer] }));
      return this.each.map((_, layer) => this.coming?.zeroed ? { zeroed: this.coming.zeroed[layer], threshold: null, pending: true } : null);
    }
    return this.each.map((k, layer) => {
      const stop = this.data.stops.indexOf(k);
      if (stop < 0) return measured?.taken ? { zeroed: measured.zeroed[layer], taken: measured.taken[layer], threshold: measured.thresholds[layer] } : null;
      const { zeroed, taken, thresholds } = this.data;
      return { zeroed: zeroed[stop][layer], taken: taken[stop][layer], threshold: thresholds[stop][layer] };
    });
  }

  draw() {
    if (!this.data) return;
    const layers = this.layersNow();
    const score = this.known.get(this.key) ?? {};
    const zeroed = layers.map((layer) => layer && layer.zeroed);
    const total = zeroed.includes(null) ? this.coming?.total ?? null : zeroed.reduce((sum, count) => sum + count, 0);
    this.drawControls();
    this.drawMetrics(zeroed, total, score);
    if (this.Plotly && this.sizes.size) this.drawFigures(layers, score);
    this.root.dataset.measured = this.data.measured?.key ?? "";
    this.announce();
    this.root.dataset.key = this.key;
    this.root.dataset.state = score.confirmed && (this.Plotly || this.data.view === "short") ? "confirmed" : "following";
  }

  // Whatever else on the page follows the slider hears of every move; who comes later finds the last one.
  announce() {
    if (this.root.dataset.key === this.key && window.pruningNow?.subject === this.data.subject && window.pruningNow.key === this.key) return;
    window.pruningNow = { subject: this.data.subject, key: this.key };
    document.dispatchEvent(new CustomEvent("pruning:k", { detail: window.pruningNow }));
  }

  drawControls() {
    const k = this.together;
    this.scale.put(this.slider, k);
    // What is being typed is left alone, and so is what was refused, until the next move.
    if (document.activeElement !== this.percent && this.percent.ariaInvalid !== "true") {
      this.percent.value = +(k * 100).toFixed(this.ks.length === 1 ? 4 : 2);
    }
    this.slider.setAttribute("aria-valuetext", `${+(k * 100).toFixed(4)}%`);
    this.linked.checked = this.ks.length === 1;
    this.root.dataset.linked = this.linked.checked;
  }

  drawMetrics(zeroed, total, score) {
    const { dense, networkWeights, hiddenWeights, scored } = this.data;
    const { state, beside } = this.data;
    const growing = scored.done < scored.total
      ? `${count(scored.done)} of ${count(scored.total)} ${state === "repair" ? "repaired" : "scored"}${scored.waits ? `; ${scored.waits}` : scored.seconds === null ? "" : `, about ${duration(scored.seconds)} left`}` : "";
    const known = score.accuracy !== undefined;
    const doing = scored.waits ? "" : state === "repair" ? "being repaired" : "being scored";
    const other = beside.accuracy[this.key];
    this.metric("accuracy", percent(score.accuracy), known ? change(score.accuracy, dense.accuracy, 100, 2, " points") : [doing, growing].filter(Boolean).join("; "), score.accuracy - dense.accuracy);
    this.find(".beside").textContent = other === undefined || (state === "none" && this.ks.every((k) => Number(k) === 0)) ? "" : `${beside.name}: ${percent(other)}`;
    this.metric("loss", fixed(score.loss, 4), known ? change(score.loss, dense.loss, 1, 4, "") : "", dense.loss - score.loss);
    this.metric("hidden", percent(total === null ? null : total / hiddenWeights), total === null ? "" : `${count(total)} of ${count(hiddenWeights)} weights`);
    this.metric("network", percent(total === null ? null : total / networkWeights), `of ${count(networkWeights)} weights; the output layer stays`);
    this.find(".status").textContent = window.pruningAway ? AWAY : [
      this.data.said[this.key] ?? (
        state === "repair" && !known ? this.coming?.text ?? "Being repaired at this k."
          : score.confirmed ? `Pruned and scored on all ${count(this.data.images)} test images.`
            : known ? "Scored earlier; measuring again…" : "Pruning and scoring…"),
      growing && (scored.waits ? `${growing}.` : `The curves are growing: ${growing}.`),
    ].filter(Boolean).join(" ");
    this.find(".layers tbody").querySelectorAll("tr").forEach((row, index) => {
      const { weights } = this.data.layers[index];
      const cells = row.querySelectorAll("td");
      this.scale.put(cells[1].firstChild, this.each[index]);
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
    const known = layers.every((layer) => layer && !layer.pending);
    const { counts, edges, colors } = this.data;
    const left = known && layers.map(({ taken, bars }, layer) => bars ?? survivors(counts[layer], taken));
    this.histograms.classList.toggle("pending", !known);
    this.overHistograms.draw(!known ? [] : layers.flatMap(({ threshold }, layer) => {
      const at = scales(this.sizes.get(this.histograms), this.data.histograms.layout, layer);
      return [
        ["path", { d: bars(at, edges[layer], left[layer]), fill: colors.method }],
        ["path", { d: threshold === null ? "" : `M${at.x(threshold)},${at.bottom}V${at.top}`, class: "threshold" }],
      ];
    }));
    const at = scales(this.sizes.get(this.curve), this.data.curve.layout, 0);
    const x = this.together, y = score.accuracy;
    this.overCurve.draw([
      ["path", { d: `M${at.x(x)},${at.bottom}V${at.top}`, class: "cursor" }],
      ...(y === undefined ? [] : [["circle", { cx: at.x(x), cy: at.y(y), r: 6.5, fill: colors.method, class: "point" }]]),
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
        type: "range", min: 0, max: this.scale.last, step: 0.1, ariaLabel: `Sparsity k of ${name}`,
      });
      this.listen(slider, layer);
      row.children[1].append(slider);
      return row;
    }));
  }

  close() {
    clearTimeout(this.timer);
    clearTimeout(this.rest);
    this.play.close();
    document.removeEventListener("pruning:connection", this.connected);
    this.address.close();
    this.resized.disconnect();
    for (const overlay of [this.overHistograms, this.overCurve]) overlay.svg.remove();
    if (this.Plotly) for (const figure of [this.histograms, this.curve]) this.Plotly.purge(figure);
  }
}
