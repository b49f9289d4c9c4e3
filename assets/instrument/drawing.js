// How the live slider draws: places in a figure, bars, a layer over a figure, and numbers as text.

const SVG = "http://www.w3.org/2000/svg";
const PENDING = "…";

// Where a value of a subplot is, in pixels of its figure: margins, domains and ranges are fixed from Python.
function scales(size, layout, index) {
  const axis = (letter) => layout[`${letter}axis${index ? index + 1 : ""}`];
  const { l, r, t, b } = layout.margin;
  // The range of a logarithmic axis is that of the exponents.
  const scale = ({ domain = [0, 1], range, type }, length) => (value) =>
    length * (domain[0] + (domain[1] - domain[0]) * ((type === "log" ? Math.log10(value) : value) - range[0]) / (range[1] - range[0]));
  const across = scale(axis("x"), size.width - l - r);
  const height = size.height - t - b;
  const up = scale(axis("y"), height);
  const x = (value) => l + across(value), y = (value) => t + height - up(value);
  const [low, high] = axis("y").range.map((end) => axis("y").type === "log" ? 10 ** end : end);
  return { x, y, bottom: y(low), top: y(high) };
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

function colorsOf(root) {
  const style = getComputedStyle(root);
  return { text: style.getPropertyValue("--st-text-color"), grid: style.getPropertyValue("--st-border-color"), font: style.fontFamily };
}

// The layout of a figure in the colours of the page.
function themed(layout, root) {
  const { text, grid, font } = colorsOf(root);
  const themed = { ...layout, font: { color: text, family: font, size: 12 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent" };
  for (const name of Object.keys(layout).filter((key) => /^[xy]axis/.test(key))) {
    themed[name] = { ...layout[name], gridcolor: grid, zerolinecolor: grid, linecolor: grid };
  }
  return themed;
}

const count = (number) => number.toLocaleString("en-US");
const duration = (seconds) => seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;
const fixed = (number, digits) => number === null || number === undefined ? PENDING : number.toFixed(digits);
const percent = (number) => number === null || number === undefined ? PENDING : `${(100 * number).toFixed(2)}%`;

function change(value, dense, scale, digits, unit) {
  if (value === undefined) return PENDING;
  const text = (scale * (value - dense)).toFixed(digits);
  return `${text >= 0 ? "+" : "−"}${Math.abs(text).toFixed(digits)}${unit} from dense`;
}
