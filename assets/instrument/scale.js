// Where k stands on a slider. The scale is the same in every state of a network, so that a k is always at the same place.
// Where only some of its stops have a network, these are marked, and the slider goes from one to the next.

class Scale {
  constructor(scale, stops) {
    this.scale = scale.map(Number);
    this.last = scale.length - 1;
    this.stops = stops;
    this.places = stops.map((key) => this.place(key));
  }

  // Between two stops of the scale if need be.
  place(k) {
    const above = Math.max(1, this.scale.findIndex((stop) => stop >= k));
    const [low, high] = this.scale.slice(above - 1, above + 1);
    return above - 1 + (k - low) / (high - low);
  }

  // The stop nearest to k.
  nearest(k) {
    return this.stops.reduce((best, stop) => Math.abs(stop - k) < Math.abs(best - k) ? stop : best);
  }

  put(slider, k) {
    slider.value = this.place(k);
    slider.placed = Number(slider.value);
    slider.style.setProperty("--at", `${100 * slider.placed / this.last}%`);
  }

  // The stop that a slider was moved to: the nearest to a pointer; by a key at least the next in its direction.
  chosen(slider) {
    const { places, stops } = this, value = Number(slider.value);
    const far = (index) => Math.abs(places[index] - value);
    let index;
    if (slider.held) index = places.reduce((best, _, each) => far(each) < far(best) ? each : best, 0);
    else if (value > slider.placed) index = places.findIndex((place) => place >= value);
    else index = Math.max(0, places.findLastIndex((place) => place <= value));
    return stops.at(index);
  }

  mark(marks) {
    const some = this.stops.length < this.scale.length;
    marks.replaceChildren(...(some ? this.places : []).map((place) => {
      const mark = document.createElement("i");
      mark.style.left = `${100 * place / this.last}%`;
      return mark;
    }));
  }
}
