// The drawing board. What is drawn is sent to Python after each stroke; Python answers with the probabilities at every
// stop of the slider, a few stops at a time, and from then on the slider moves without it.

const SEND_MS = 200;
const PENDING = "…";
const SIZE = 560; // pixels of the canvas, along each side

export default function (component) {
  return last(component, (parent) => new Board(parent.querySelector(".draw")), component.setStateValue);
}

class Board {
  constructor(root) {
    this.root = root;
    this.find = (selector) => root.querySelector(selector);
    this.canvas = this.find(".canvas");
    this.pen = this.canvas.getContext("2d", { willReadFrequently: true });
    this.slider = this.find(".slider");
    this.thickness = this.find(".width");
    this.note = this.find(".note");
    // What was put on the paper, in order: strokes, test images, drawings of links, pictures, and blank sheets.
    this.items = [];
    this.number = 0;
    this.listen();
  }

  listen() {
    const { canvas } = this;
    canvas.onpointerdown = (event) => this.begin(event);
    canvas.onpointermove = (event) => this.follow(event);
    canvas.onpointerup = canvas.onpointercancel = (event) => this.end(event);
    this.find(".undo").onclick = () => this.undo();
    this.find(".clear").onclick = () => this.put({ kind: "blank" });
    this.find(".file").onchange = ({ target }) => {
      if (target.files.length) this.open(target.files[0]);
      // The same file may be opened again.
      target.value = "";
    };
    const paper = this.find(".paper");
    paper.ondragover = (event) => { event.preventDefault(); paper.classList.add("over"); };
    paper.ondragleave = () => paper.classList.remove("over");
    paper.ondrop = (event) => {
      event.preventDefault();
      paper.classList.remove("over");
      if (event.dataTransfer.files.length) this.open(event.dataTransfer.files[0]);
    };
    guard(this.thickness);
    guard(this.slider);
    this.thickness.oninput = () => this.fill(this.thickness);
    this.slider.oninput = () => this.draw();
    this.slider.onchange = () => this.tell("k", this.data.stops[this.at]);
  }

  get at() {
    return Number(this.slider.value);
  }

  receive(data) {
    const fresh = !this.data;
    const moved = this.data?.dataset !== data.dataset;
    const view = this.data?.view !== data.view;
    this.data = data;
    this.root.style.setProperty("--dense-color", data.colors.dense);
    this.root.style.setProperty("--pruned-color", data.colors.pruned);
    if (fresh) {
      this.slider.max = data.stops.length - 1;
      this.slider.value = data.at;
    }
    if (moved) this.enter(fresh);
    if (view) this.root.dataset.view = data.view;
    if (data.picture && data.picture.id === this.opened) this.lay(data.picture);
    const { answer } = data;
    if (answer?.drawing === this.id) {
      this.answer = answer;
      if (answer.rows?.includes(null)) {
        this.tell("ask", { drawing: this.id, at: this.at, view: data.view, known: answer.rows.filter(Boolean).length });
      }
    }
    this.draw();
  }

  // Another dataset: other test images, another prompt, and a pen as thick as its lines.
  enter(fresh) {
    const { classes, samples, start, what, dataset, side } = this.data;
    this.find(".prompt").textContent = dataset === "fashion"
      ? "Draw a piece of clothing, or start from a test image" : "Draw a digit here";
    this.canvas.setAttribute("aria-label", `Canvas: draw ${what} with mouse, pen or finger. Without one, choose a test image or open a picture.`);
    this.thickness.value = { digits: 48, fashion: 60, optdigits: 72 }[dataset];
    this.fill(this.thickness);
    this.find(".samples").replaceChildren(...samples.map((sample) => {
      const button = Object.assign(document.createElement("button"), {
        type: "button", title: sample.label, ariaLabel: `Test image of ${sample.label}`, onclick: () => this.put({ kind: "test", ...sample }),
      });
      button.dataset.index = sample.index;
      button.append(image(bytes(sample.pixels), side));
      return button;
    }));
    this.find("tbody").replaceChildren(...classes.map((name) => {
      const row = document.createElement("tr");
      row.innerHTML = "<th scope='row'></th><td><div class='bar dense'></div></td><td class='number dense'></td><td><div class='bar pruned'></div></td><td class='number pruned'></td>";
      row.firstChild.textContent = name;
      return row;
    }));
    const longest = Math.max(...classes.map((name) => name.length));
    this.root.style.setProperty("--label-width", `${Math.max(3, 0.55 * longest)}rem`);
    this.find("figcaption").textContent = `As the networks see it: ${side} × ${side}`;
    this.find(".seen").setAttribute("aria-label", `The drawing as the networks see it, ${side} by ${side} pixels`);
    this.answer = null;
    if (fresh && start) this.put({ kind: start.text ? "link" : "test", ...start });
    // An image belongs to its dataset. What was drawn by hand is read by the new network, too.
    else if (this.shown().some(isImage)) { this.items = []; this.changed(); }
    else if (fresh) this.changed();
    // Its strokes may be read another way now, so Python has to be told whose they are.
    else if (this.shown().length) this.changed();
  }

  // What is visible: everything since the paper was last covered or changed.
  shown() {
    const last = this.items.findLastIndex(({ kind }) => kind !== "stroke");
    return this.items.slice(Math.max(last, 0)).filter(({ kind }) => kind !== "blank");
  }

  place(event) {
    const box = this.canvas.getBoundingClientRect();
    return [SIZE * (event.clientX - box.left) / box.width, SIZE * (event.clientY - box.top) / box.height];
  }

  begin(event) {
    if (!event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    this.canvas.setPointerCapture(event.pointerId);
    clearTimeout(this.timer);
    this.note.textContent = "";
    this.stroke = { kind: "stroke", width: Number(this.thickness.value), points: [this.place(event)] };
    this.items.push(this.stroke);
    this.changed(false);
  }

  follow(event) {
    if (!this.stroke || !event.isPrimary) return;
    // Browsers report a fast pen once a frame, with all the places it has been at since.
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) this.stroke.points.push(this.place(each));
    this.paint();
  }

  end(event) {
    if (!this.stroke || !event.isPrimary) return;
    this.stroke = null;
    this.changed();
  }

  put(item) {
    if (item.kind === "blank" && !this.shown().length) return;
    this.note.textContent = "";
    this.items.push(item);
    this.changed();
  }

  undo() {
    this.note.textContent = "";
    this.items.pop();
    this.changed();
  }

  another() {
    return `${Date.now().toString(36)}-${++this.number}`;
  }

  // Something else is on the paper; Python is told unless more is coming.
  changed(complete = true) {
    this.id = this.another();
    if (!this.shown().length) this.answer = null;
    this.paint();
    this.draw();
    clearTimeout(this.timer);
    if (complete) this.timer = setTimeout(() => this.send(), this.shown().at(-1)?.kind === "stroke" ? SEND_MS : 0);
  }

  send() {
    const shown = this.shown();
    const told = { id: this.id, dataset: this.data.dataset, at: this.at };
    const framed = Boolean(shown[0] && isImage(shown[0]));
    if (framed && shown.length === 1) Object.assign(told, shown[0].text ? { text: shown[0].text, framed } : { image: shown[0].index });
    else if (shown.length) Object.assign(told, { ink: this.raster(), framed });
    this.tell("drawing", told);
  }

  // The ink, a byte a pixel, as base64.
  raster() {
    const { raster } = this.data;
    const { data } = this.pen.getImageData(0, 0, SIZE, SIZE);
    const block = SIZE / raster;
    const ink = new Uint8Array(raster * raster);
    for (let row = 0; row < raster; row++) for (let column = 0; column < raster; column++) {
      let sum = 0;
      for (let y = row * block; y < (row + 1) * block; y++) {
        for (let x = column * block; x < (column + 1) * block; x++) sum += data[4 * (y * SIZE + x) + 3];
      }
      ink[row * raster + column] = Math.round(sum / block ** 2);
    }
    return text(ink);
  }

  paint() {
    const { pen } = this;
    pen.clearRect(0, 0, SIZE, SIZE);
    for (const item of this.shown()) {
      if (item.kind === "stroke") stroke(pen, item);
      else {
        pen.imageSmoothingEnabled = false;
        pen.drawImage(isImage(item) ? image(bytes(item.pixels), this.data.side) : item.picture, 0, 0, SIZE, SIZE);
      }
    }
  }

  async open(file) {
    this.note.textContent = "";
    const url = URL.createObjectURL(file);
    try {
      const picture = Object.assign(new Image(), { src: url });
      await picture.decode();
      this.opened = this.another();
      this.tell("picture", { id: this.opened, ...lightOf(picture, this.data.raster) });
    } catch {
      this.note.textContent = `The browser cannot open ${file.name} as a picture. Try a PNG or JPEG file.`;
    } finally {
      URL.revokeObjectURL(url);
    }
  }

  // Python has found the ink of the picture that was opened.
  lay(picture) {
    this.opened = null;
    this.tell("picture", null);
    if (picture.ink) this.put({ kind: "picture", picture: image(bytes(picture.ink), this.data.raster) });
    else this.note.textContent = "Nothing in this picture stands out from its background. Try one with more contrast.";
  }

  fill(slider) {
    slider.style.setProperty("--at", `${100 * (slider.value - slider.min) / (slider.max - slider.min)}%`);
  }

  // Everything but the paper.
  draw() {
    if (!this.data) return;
    const { stops } = this.data;
    const shown = this.shown();
    const current = this.answer?.drawing === this.id;
    const rows = this.answer?.rows;
    const k = percentOf(stops[this.at]);
    const complete = current && !!rows && !rows.includes(null);
    this.root.dataset.state = !shown.length ? "empty" : !current ? "reading" : !rows ? "unreadable" : complete ? "complete" : "read";
    this.root.dataset.k = stops[this.at];
    this.fill(this.slider);
    this.slider.setAttribute("aria-valuetext", k);
    this.find(".percent").textContent = k;
    this.find(".undo").disabled = !this.items.length;
    this.find(".clear").disabled = !shown.length;
    for (const button of this.find(".samples").children) {
      button.setAttribute("aria-pressed", shown.length === 1 && shown[0].kind === "test" && shown[0].index === Number(button.dataset.index));
    }
    for (const title of ["[data-network=pruned] .title", "th.pruned"]) this.find(title).textContent = `Pruned, k = ${k}`;
    this.drawSentence(shown, rows, current, complete);
    this.drawRibbon(rows);
    this.drawSeen();
    this.drawAnswers(rows?.[0], rows?.[this.at], !shown.length);
  }

  drawSentence(shown, rows, current, complete) {
    const { classes, stops, what } = this.data;
    const sentence = this.find(".sentence");
    let text;
    if (!shown.length) text = `Draw ${what}, and both networks read it here.`;
    else if (!current) text = "Reading…";
    else if (!rows) text = this.answer.problem;
    else text = story(rows, classes, stops, complete);
    const truth = shown.length === 1 && shown[0].kind === "test" ? `Test image ${shown[0].index}, labelled ${shown[0].label}.` : "";
    // What a screen reader says is said once, so the text is only set when it is another one.
    if (sentence.dataset.text === text + truth) return;
    sentence.dataset.text = text + truth;
    const small = Object.assign(document.createElement("small"), { textContent: truth });
    sentence.replaceChildren(text, ...(truth ? [small] : []));
  }

  drawRibbon(rows) {
    const { classes } = this.data;
    const segments = [];
    (rows ?? []).forEach((row) => {
      const read = row ? best(row) : null;
      if (segments.length && segments.at(-1).read === read) segments.at(-1).stops += 1;
      else segments.push({ read, stops: 1 });
    });
    const ribbon = this.find(".ribbon");
    ribbon.replaceChildren(...segments.map(({ read, stops }) => {
      const part = document.createElement("span");
      part.style.flexGrow = stops;
      // A name that has no room is better left out than cut off; the big one above says it.
      if (read !== null && read >= 0 && stops >= 2 + 2 * (classes[read].length - 1)) part.textContent = classes[read];
      part.className = read !== null && read === best(rows[0] ?? []) ? "same" : "";
      return part;
    }));
  }

  drawSeen() {
    const seen = this.find(".seen");
    const { side } = this.data;
    const drawn = this.answer?.seen;
    if (seen.dataset.drawn === `${side} ${drawn}`) return;
    seen.dataset.drawn = `${side} ${drawn}`;
    Object.assign(seen, { width: side, height: side });
    if (drawn) seen.getContext("2d").drawImage(image(bytes(drawn), side), 0, 0);
  }

  drawAnswers(dense, pruned, empty) {
    const { classes } = this.data;
    for (const [name, row] of [["dense", dense], ["pruned", pruned]]) {
      const box = this.find(`[data-network=${name}]`);
      const read = row ? best(row) : null;
      const big = box.querySelector(".class");
      big.textContent = empty ? "–" : read === null ? PENDING : read < 0 ? "–" : classes[read];
      big.classList.toggle("long", read !== null && read >= 0 && classes[read].length > 1);
      box.querySelector("small").textContent = empty || !row ? "" : read < 0 ? "all classes are equal" : percent(row[read]);
      this.find("tbody").querySelectorAll("tr").forEach((line, index) => {
        line.querySelector(`.bar.${name}`).style.width = row ? `${100 * row[index]}%` : "0";
        line.querySelector(`.number.${name}`).textContent = empty ? "" : row ? percent(row[index]) : PENDING;
        line.classList.toggle(`top-${name}`, index === read);
      });
    }
  }

  close() {
    clearTimeout(this.timer);
  }
}

// From what k on the pruned network reads something else than the dense one.
function story(rows, classes, stops, complete) {
  const read = best(rows[0] ?? []);
  const name = read >= 0 ? classes[read] : "nothing";
  if (!complete) return `Read as ${name} by the dense network. Pruning it further${PENDING}`;
  const other = rows.findIndex((row) => best(row) !== read);
  if (other < 0) return `Read as ${name} by the dense network, and the same at every k up to ${percentOf(stops.at(-1))}.`;
  const then = best(rows[other]);
  return `Read as ${name} up to k = ${percentOf(stops[other - 1])}, then as ${then >= 0 ? classes[then] : "nothing: all classes are equal"}.`;
}

// The class of largest probability, or -1 if all are equal: nothing has reached the output.
function best(row) {
  const top = Math.max(...row);
  return row.length && row.some((value) => value !== top) ? row.indexOf(top) : -1;
}

const percent = (number) => `${(100 * number).toFixed(2)}%`;
const percentOf = (k) => `${+(100 * k).toFixed(4)}%`;
