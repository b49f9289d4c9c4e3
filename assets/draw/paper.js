// What is on the paper: strokes of the pen, images, and pictures as Python gets them.

// What is on the paper as the networks see it.
const isImage = ({ kind }) => kind === "test" || kind === "link";

function stroke(pen, { width, points }) {
  Object.assign(pen, { lineWidth: width, lineCap: "round", lineJoin: "round", strokeStyle: "black", fillStyle: "black" });
  // A line of no length leaves no ink, but a dot should.
  pen.beginPath();
  pen.arc(...points[0], width / 2, 0, 2 * Math.PI);
  pen.fill();
  pen.beginPath();
  pen.moveTo(...points[0]);
  // Curves through the middles between what the pointer reported, so that a fast stroke has no corners.
  for (let index = 1; index < points.length - 1; index++) {
    const [[x, y], [nextX, nextY]] = [points[index], points[index + 1]];
    pen.quadraticCurveTo(x, y, (x + nextX) / 2, (y + nextY) / 2);
  }
  pen.lineTo(...points.at(-1));
  pen.stroke();
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function text(bytes) {
  let text = "";
  for (let start = 0; start < bytes.length; start += 4096) text += String.fromCharCode(...bytes.subarray(start, start + 4096));
  return btoa(text);
}

// A canvas of black ink on nothing.
function image(ink, side) {
  const canvas = Object.assign(document.createElement("canvas"), { width: side, height: side });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(side, side);
  ink.forEach((value, index) => { pixels.data[4 * index + 3] = value; });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

// How light each pixel of a picture is on white paper, a byte a pixel as base64, with its longer side as long as a raster.
function lightOf(picture, raster) {
  const scale = raster / Math.max(picture.naturalWidth, picture.naturalHeight);
  const width = Math.max(1, Math.round(picture.naturalWidth * scale)), height = Math.max(1, Math.round(picture.naturalHeight * scale));
  const context = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
  // A picture of a few pixels, such as an image of the dataset itself, keeps them.
  const small = scale > 4;
  context.imageSmoothingEnabled = !small;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const light = new Uint8Array(width * height), clear = new Uint8Array(width * height);
  for (let index = 0; index < light.length; index++) {
    const [red, green, blue, alpha] = data.subarray(4 * index, 4 * index + 4);
    clear[index] = 255 - alpha;
    light[index] = Math.round(255 - alpha + alpha * (0.299 * red + 0.587 * green + 0.114 * blue) / 255);
  }
  // White on a transparent ground is not to be seen on paper, but its shape is.
  const seen = light.some((value) => value < 240) ? light : clear;
  return { width, height, small, light: text(seen) };
}
