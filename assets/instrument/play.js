// The button that moves the slider by itself, from stop to stop; where less motion is asked for, by a tenth at each press.

const PLAY_MS = 110;

class Play {
  constructor(button, slider) {
    Object.assign(this, { button, slider, still: matchMedia("(prefers-reduced-motion: reduce)") });
    button.onclick = () => this.timer ? this.pause() : this.still.matches ? this.step() : this.start();
    this.still.onchange = () => { this.pause(); this.draw(); };
    this.draw();
  }

  start() {
    const { stops } = this.slider.data;
    let at = stops.indexOf(this.slider.scale.nearest(this.slider.together));
    if (at === stops.length - 1) at = -1;
    this.timer = setInterval(() => {
      at += 1;
      this.slider.move(stops[at], true);
      if (at === stops.length - 1) this.pause();
    }, PLAY_MS);
    this.draw();
  }

  step() {
    const { stops } = this.slider.data, k = this.slider.together, last = stops.at(-1);
    this.slider.move(k >= last ? stops[0] : stops.find((stop) => stop >= k + 0.1 - 1e-9) ?? last, false);
  }

  pause() {
    if (!this.timer) return;
    clearInterval(this.timer);
    this.timer = null;
    this.draw();
    this.slider.settle();
  }

  draw() {
    this.button.textContent = this.timer ? "❚❚ Pause" : this.still.matches ? "▶ Step" : "▶ Play";
    this.slider.root.dataset.playing = Boolean(this.timer);
  }

  close() {
    clearInterval(this.timer);
    this.still.onchange = null;
  }
}
