// The wall of test images. It follows the slider by the event "pruning:k", without the server: the predictions of every
// scored sparsity are here, a byte an image. Of two states that follow each other, only the tiles that differ are drawn.

const REST_MS = 400;
const RIGHT = 0, WRONG = 1, GAINED = 2;
const PAPER = "#FFFFFF", NIGHT = "#14181D", GREEN = "#7FD6B4";
const CAPTION = 18;
const number = (value) => value.toLocaleString("en-US");
const percent = (key) => `${+(100 * Number(key)).toFixed(2)}%`;

export default function (component) {
  return last(component, (parent) => new Wall(parent.querySelector(".wall")), (image) => component.setStateValue("picked", image));
}

class Wall {
  constructor(root) {
    this.root = root;
    this.find = (selector) => root.querySelector(selector);
    this.canvas = this.find(".tiles");
    this.pen = this.canvas.getContext("2d");
    this.forget();
    this.heard = (event) => { if (event.detail.subject === this.data?.subject) this.follow(event.detail.key); };
    document.addEventListener("pruning:k", this.heard);
    this.find(".group").onchange = () => this.arrange();
    this.find(".filter").onchange = () => this.arrange();
    this.resized = new ResizeObserver(() => { if (this.picture && this.canvas.clientWidth !== this.width) this.arrange(); });
    this.resized.observe(root);
    this.canvas.onpointermove = (event) => this.point(this.imageAt(event.offsetX, event.offsetY));
    this.canvas.onpointerleave = () => this.point(null);
    // A finger does not hover: what it taps is shown and picked at once.
    this.canvas.onclick = (event) => {
      const image = this.imageAt(event.offsetX, event.offsetY);
      this.point(image);
      this.pick(image);
    };
    this.canvas.onblur = () => this.point(null);
    this.canvas.onkeydown = (event) => this.press(event);
  }

  async receive(data) {
    const earlier = this.data;
    this.data = data;
    this.picked = data.picked;
    this.root.dataset.tall = data.tall;
    if (earlier?.subject !== data.subject) this.forget();
    if (data.measured) {
      const bytes = Uint8Array.from(atob(data.measured.predictions), (letter) => letter.charCodeAt(0));
      this.rows.set(data.measured.key, bytes);
    }
    try {
      if (earlier?.images !== data.images) await this.load(data);
      if (earlier?.predictions !== data.predictions) await this.learn(data);
    } catch (error) {
      this.say(`The wall cannot be drawn. ${error.message}`);
      return;
    }
    if (this.data !== data || !this.labels || !this.picture) return;
    if (earlier?.subject !== data.subject) this.arrange();
    const now = window.pruningNow;
    if (now?.subject === data.subject) this.follow(now.key);
    this.place(this.find(".picked"), this.picked);
  }

  // Another subject has other predictions, and may have other images.
  forget() {
    clearTimeout(this.rest);
    Object.assign(this, { rows: new Map(), known: [], row: undefined, states: undefined });
  }

  async load(data) {
    this.say("Getting the test images…");
    const [labels, picture] = await Promise.all([bytesOf(data.labels), pictureOf(data.images)]);
    this.labels = labels;
    this.picture = picture;
  }

  async learn(data) {
    const bytes = await bytesOf(data.predictions);
    const end = bytes.indexOf(10);
    const keys = new TextDecoder().decode(bytes.subarray(0, end)).split(",").filter(Boolean);
    keys.forEach((key, index) => {
      const start = end + 1 + index * data.count;
      this.rows.set(key, bytes.subarray(start, start + data.count));
    });
    // In the order of the slider, for what is said of a single image.
    this.known = data.stops.filter((key) => this.rows.has(key));
  }

  say(notice) {
    this.find(".notice").textContent = notice ?? "";
    this.find(".notice").hidden = !notice;
  }

  // What each tile shows at a sparsity: right, wrong, or right where the dense network is wrong.
  statesAt(row) {
    const { labels } = this, dense = this.rows.get("0");
    return labels.map((label, image) => row[image] !== label ? WRONG : dense && dense[image] !== label ? GAINED : RIGHT);
  }

  follow(key) {
    if (!this.labels || !this.picture || !this.data) return;
    // What was to be counted once the slider rests is of the k before.
    clearTimeout(this.rest);
    this.key = key;
    this.row = this.rows.get(key);
    this.root.dataset.state = this.row ? "ready" : "pending";
    this.say(this.row ? null : "This sparsity is being scored…");
    if (this.row) {
      const states = this.statesAt(this.row);
      const before = this.states;
      this.states = states;
      if (!before || this.find(".filter").value.includes(":")) this.arrange();
      else states.forEach((state, image) => { if (state !== before[image]) this.paint(image); });
      this.count();
    }
    this.root.dataset.key = key;
    if (this.pointed !== undefined && this.pointed !== null) this.point(this.pointed);
  }

  count() {
    const total = this.labels.length, dense = this.rows.get("0");
    let right = 0, lost = 0, gained = 0;
    this.states.forEach((state, image) => {
      right += state !== WRONG;
      gained += state === GAINED;
      lost += state === WRONG && dense && dense[image] === this.labels[image];
    });
    const parts = [`${number(right)} of ${number(total)} right`, `${number(lost)} lost`, `${number(gained)} newly right`];
    const counts = this.find(".counts");
    counts.innerHTML = "<b></b> · <span></span> · <span></span>";
    [...counts.children].forEach((part, index) => { part.textContent = parts[index]; });
    this.root.dataset.right = right;
    if (!this.find(".filter").options.length) this.offerFilters();
    this.rest = setTimeout(() => {
      this.find(".spoken").textContent = `At k = ${this.key.split(",").map(percent).join(", ")}: ${parts.join(", ")}.`;
      this.offerFilters();
    }, REST_MS);
  }

  // One class, what changed, or the confusions that are most frequent now.
  offerFilters() {
    const filter = this.find(".filter"), chosen = filter.value;
    const { classes } = this.data;
    const confusions = new Map();
    this.states.forEach((state, image) => {
      if (state === WRONG) {
        const pair = `${this.labels[image]}:${this.row[image]}`;
        confusions.set(pair, (confusions.get(pair) ?? 0) + 1);
      }
    });
    const frequent = [...confusions].sort((a, b) => b[1] - a[1]).slice(0, 12);
    if (chosen.match(/^\d+:\d+$/) && !frequent.some(([pair]) => pair === chosen)) frequent.push([chosen, confusions.get(chosen) ?? 0]);
    const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });
    const group = (label, options) => {
      const made = Object.assign(document.createElement("optgroup"), { label });
      made.append(...options);
      return made;
    };
    filter.replaceChildren(
      option("", "all images"), option("changed:lost", "lost by pruning"), option("changed:gained", "newly right"),
      group("Class", classes.map((name, label) => option(String(label), name))),
      group("Confusion now", frequent.map(([pair, count]) => {
        const [from, to] = pair.split(":");
        return option(pair, `${classes[from]} read as ${classes[to]} (${number(count)})`);
      })),
    );
    filter.value = chosen;
  }

  passes(image) {
    const filter = this.find(".filter").value;
    if (!filter) return true;
    if (!filter.includes(":")) return this.labels[image] === Number(filter);
    if (!this.row) return false;
    const dense = this.rows.get("0");
    if (filter === "changed:lost") return this.states[image] === WRONG && dense?.[image] === this.labels[image];
    if (filter === "changed:gained") return this.states[image] === GAINED;
    const [from, to] = filter.split(":").map(Number);
    return this.labels[image] === from && this.row[image] === to;
  }

  // The stop from which on an image is wrong at every later one; as many as there are stops if it is right at the last.
  fallOf(image) {
    let stop = this.known.length;
    while (stop > 0 && this.rows.get(this.known[stop - 1])[image] !== this.labels[image]) stop -= 1;
    return stop;
  }

  // The images in groups, each beginning a row of its own.
  groups() {
    const images = [...this.labels.keys()].filter((image) => this.passes(image));
    const by = this.find(".group").value;
    if (by === "dataset") return [{ name: "", images }];
    const groups = new Map();
    const add = (rank, name, image) => {
      if (!groups.has(rank)) groups.set(rank, { rank, name, images: [] });
      groups.get(rank).images.push(image);
    };
    if (by === "class") {
      for (const image of images) add(this.labels[image], this.data.classes[this.labels[image]], image);
    } else {
      const falls = new Map(images.map((image) => [image, this.fallOf(image)]));
      images.sort((a, b) => falls.get(a) - falls.get(b) || a - b);
      for (const image of images) {
        const fall = falls.get(image);
        if (fall === 0) add(-1, "wrong at every k", image);
        else if (fall === this.known.length) add(101, "right at the end", image);
        else {
          const decade = Math.floor(10 * Number(this.known[fall]) + 1e-9);
          add(decade, decade === 10 ? "falls at 100%" : `falls at ${10 * decade}% or more`, image);
        }
      }
    }
    return [...groups.values()].sort((a, b) => a.rank - b.rank);
  }

  arrange() {
    if (!this.labels || !this.picture) return;
    const groups = this.groups();
    const total = groups.reduce((sum, group) => sum + group.images.length, 0);
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    this.width = this.root.clientWidth;
    const style = getComputedStyle(this.root);
    this.pen.font = `${12 * ratio}px ${style.fontFamily}`;
    const captions = groups.length > 1 ? groups.map(({ name, images }) => `${name} · ${number(images.length)}`) : [""];
    // The name of a group stands beside it, on a narrow screen above it.
    const beside = this.width >= 480 ? Math.ceil(Math.max(...captions.map((text) => this.pen.measureText(text).width))) : 0;
    const left = beside && beside + 10 * ratio;
    const above = captions.length > 1 ? (left ? 4 : CAPTION) * ratio : 0;
    const wide = Math.max(1, Math.floor(this.width * ratio) - left);
    const high = (this.data.tall ? Math.max(240, window.innerHeight - this.canvas.getBoundingClientRect().top - 60) : Math.min(this.width, 430)) * ratio;
    const room = Math.max(high - above * groups.length, high / 2);
    // Whole pixels, so that all tiles are alike; each group may leave its last row unfinished.
    let tile = Math.max(3, Math.floor(Math.sqrt(wide * room / Math.max(total, 1))));
    tile = Math.min(tile, 64 * ratio, wide);
    const rowsAt = (size) => groups.reduce((sum, group) => sum + Math.ceil(group.images.length / Math.floor(wide / size)), 0);
    while (tile > 3 && rowsAt(tile) * tile > room * 1.05) tile -= 1;
    const across = Math.floor(wide / tile);
    let top = 0;
    this.places = new Map();
    this.layout = groups.map((group, index) => {
      const at = { ...group, caption: captions[index], top: top + above };
      group.images.forEach((image, place) => {
        this.places.set(image, [left + (place % across) * tile, at.top + Math.floor(place / across) * tile]);
      });
      // A name needs its own height, however few images it has.
      top = at.top + Math.max(Math.ceil(group.images.length / across) * tile, left ? 14 * ratio : 0);
      return at;
    });
    Object.assign(this, { ratio, tile, across, left });
    this.canvas.width = Math.floor(this.width * ratio);
    this.canvas.height = Math.max(top, tile);
    this.canvas.style.height = `${this.canvas.height / ratio}px`;
    this.drawSheets();
    this.pen.fillStyle = style.getPropertyValue("--st-text-color");
    this.pen.font = `${12 * ratio}px ${style.fontFamily}`;
    for (const { caption, top: begin } of this.layout) this.pen.fillText(caption, 0, left ? begin + 11 * ratio : begin - 5 * ratio);
    if (this.states) for (const image of this.places.keys()) this.paint(image);
    if (!total) this.pen.fillText("No image is like this at this sparsity.", 0, 12 * ratio);
    this.place(this.find(".picked"), this.picked);
  }

  // All images at the size of a tile, in each of the three looks.
  drawSheets() {
    const { columns, count } = this.data;
    const size = this.tile, high = Math.ceil(count / columns);
    if (this.sheets?.size === size && this.sheets.picture === this.picture) return;
    const sheet = () => Object.assign(document.createElement("canvas"), { width: columns * size, height: high * size });
    const looks = [sheet(), sheet(), sheet()];
    const pens = looks.map((look) => look.getContext("2d"));
    for (const pen of pens) {
      pen.imageSmoothingQuality = "high";
      pen.fillStyle = PAPER;
      pen.fillRect(0, 0, columns * size, high * size);
      pen.drawImage(this.picture, 0, 0, columns * size, high * size);
    }
    // Dark: the image inverted, and most of its light taken away.
    pens[WRONG].globalCompositeOperation = "difference";
    pens[WRONG].fillRect(0, 0, columns * size, high * size);
    pens[WRONG].globalCompositeOperation = "source-over";
    pens[WRONG].globalAlpha = 0.78;
    pens[WRONG].fillStyle = NIGHT;
    pens[WRONG].fillRect(0, 0, columns * size, high * size);
    pens[GAINED].globalCompositeOperation = "multiply";
    pens[GAINED].fillStyle = GREEN;
    pens[GAINED].fillRect(0, 0, columns * size, high * size);
    this.sheets = { size, looks, picture: this.picture };
  }

  paint(image) {
    const place = this.places?.get(image);
    if (!place) return;
    const { tile } = this, { columns } = this.data, gap = tile >= 12 ? 1 : 0;
    const x = (image % columns) * tile, y = Math.floor(image / columns) * tile;
    this.pen.drawImage(this.sheets.looks[this.states[image]], x, y, tile - gap, tile - gap, place[0], place[1], tile - gap, tile - gap);
  }

  imageAt(x, y) {
    if (!this.layout) return null;
    const column = Math.floor((x * this.ratio - this.left) / this.tile), down = y * this.ratio;
    const group = this.layout.findLast(({ top }) => top <= down);
    if (!group || column < 0 || column >= this.across) return null;
    return group.images[Math.floor((down - group.top) / this.tile) * this.across + column] ?? null;
  }

  // Put a frame around a tile; none hides it.
  place(frame, image) {
    const place = image === null || image === undefined ? null : this.places?.get(image);
    frame.hidden = !place;
    if (!place) return;
    const size = this.tile / this.ratio;
    Object.assign(frame.style, { left: `${place[0] / this.ratio}px`, top: `${place[1] / this.ratio}px`, width: `${size}px`, height: `${size}px` });
  }

  point(image) {
    this.pointed = image;
    this.place(this.find(".mark"), image);
    const card = this.find(".card");
    card.hidden = image === null || !this.places?.has(image) || !this.row;
    if (card.hidden) return;
    const { side, columns, classes } = this.data;
    const pen = card.querySelector("canvas").getContext("2d");
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.picture, (image % columns) * side, Math.floor(image / columns) * side, side, side, 0, 0, 112, 112);
    const label = classes[this.labels[image]], answer = classes[this.row[image]];
    this.find(".card .title").textContent = `${label} · image ${number(image)}`;
    this.find(".card .answer").textContent = answer === label ? `Read right, as ${answer}, at this k.` : `Read as ${answer} at this k.`;
    this.find(".card .story").textContent = this.story(image);
    const [x, y] = this.places.get(image).map((value) => value / this.ratio);
    const below = y + this.tile / this.ratio + 8;
    const width = card.offsetWidth, height = card.offsetHeight;
    const field = this.canvas.clientHeight;
    card.style.left = `${Math.max(0, Math.min(x - width / 2, this.width - width))}px`;
    card.style.top = `${below + height > field && y > height ? y - height - 8 : below}px`;
  }

  // What an image is read as, from k to k: "Read as 7 up to 91%, as 9 up to 95%, then as 1."
  story(image) {
    const parts = [];
    for (const key of this.known) {
      const answer = this.rows.get(key)[image];
      if (parts.at(-1)?.answer === answer) parts.at(-1).last = key;
      else parts.push({ answer, last: key });
    }
    const said = parts.map(({ answer, last }, index) => {
      const name = `as ${this.data.classes[answer]}`;
      return index === parts.length - 1 ? (parts.length > 1 ? `then ${name}` : `${name} at every k`) : `${name} up to ${percent(last)}`;
    });
    const short = said.length > 5 ? [...said.slice(0, 3), `${said.length - 4} more changes`, said.at(-1)] : said;
    return short.length ? `Read ${short.join(", ")}.` : "";
  }

  pick(image) {
    if (image === null) return;
    this.picked = this.picked === image ? null : image;
    this.place(this.find(".picked"), this.picked);
    this.tell(this.picked);
  }

  press(event) {
    const order = this.layout?.flatMap(({ images }) => images) ?? [];
    if (!order.length) return;
    const at = order.indexOf(this.pointed ?? this.picked);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.across, ArrowUp: -this.across }[event.key];
    if (step) this.point(order[at < 0 ? 0 : Math.max(0, Math.min(order.length - 1, at + step))]);
    else if (event.key === "Home") this.point(order[0]);
    else if (event.key === "End") this.point(order.at(-1));
    else if ((event.key === "Enter" || event.key === " ") && at >= 0) this.pick(order[at]);
    else if (event.key === "Escape") this.point(null);
    else return;
    event.preventDefault();
  }

  close() {
    clearTimeout(this.rest);
    document.removeEventListener("pruning:k", this.heard);
    this.resized.disconnect();
  }
}

// Errors are sentences that end with what to do.
async function bytesOf(address) {
  const answer = await fetch(address).catch(() => { throw new Error("The server did not answer. Reload the page."); });
  if (!answer.ok) {
    // What is not plain text comes from a proxy, not from the app.
    const isOurs = answer.headers.get("Content-Type")?.startsWith("text/plain");
    throw new Error((isOurs && await answer.text()) || `The answer to ${address} was ${answer.status}. Reload the page.`);
  }
  return new Uint8Array(await answer.arrayBuffer());
}

function pictureOf(address) {
  return new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error("The test images did not arrive. Reload the page."));
    picture.src = address;
  });
}
