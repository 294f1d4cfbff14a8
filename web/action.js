// The actions in an answer, and their places on the picture. Models of phone agents write
//     do(action="Tap", element=[x,y])    do(action="Swipe", start=[x,y], end=[x,y])
// with coordinates from 0 to 999, thousandths of the picture's width and height.

const MOST = 20;                        // actions that are drawn
const STRING = /"[^"\n]*"/g;
const CALL = /do\(\s*action\s*=\s*["']([^"'\n]{1,40})["']((?:"[^"\n]*"|[^")\n])*)\)/g;
const POINT = /\b(element|start|end)\s*=\s*\[\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\]/g;
const SVG = "http://www.w3.org/2000/svg";

// [{ name: "Swipe", points: [[x, y], ...] }, ...]: those with one place, or with a start and an end.
export function actionsOf(text) {
  const found = [];
  for (const [, name, rest] of text.matchAll(CALL)) {
    const at = {};
    for (const [, place, x, y] of rest.replace(STRING, "").matchAll(POINT)) at[place] = [Number(x), Number(y)];
    const points = at.element ? [at.element] : [at.start, at.end];
    if (points.every((p) => p && p[0] <= 1000 && p[1] <= 1000)) found.push({ name, points });
    if (found.length === MOST) break;
  }
  return found;
}

function shape(name, values) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(values)) element.setAttribute(key, value);
  return element;
}

// A ring with a dot around the point.
function ring(x, y, size) {
  return `M${x - size},${y}a${size},${size} 0 1,0 ${2 * size},0a${size},${size} 0 1,0 ${-2 * size},0` +
         `M${x - size / 8},${y}h${size / 4}M${x},${y - size / 8}v${size / 4}`;
}

// A line with a head of two strokes at its end.
function arrow(x, y, toX, toY, size) {
  const angle = Math.atan2(toY - y, toX - x);
  const stroke = (turn) =>
    `M${toX},${toY}L${toX - size * Math.cos(angle + turn)},${toY - size * Math.sin(angle + turn)}`;
  return `M${x},${y}L${toX},${toY}` + stroke(0.5) + stroke(-0.5);
}

// The marks of all actions, to lie upon a picture of so many pixels.
export function marks(actions, width, height) {
  const svg = shape("svg", { viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true" });
  const size = Math.min(width, height) * 0.06;
  for (const { points } of actions) {
    const [[x, y], end] = points.map((p) => [p[0] / 1000 * width, p[1] / 1000 * height]);
    const d = end ? ring(x, y, size / 2) + arrow(x, y, end[0], end[1], size) : ring(x, y, size);
    svg.append(shape("path", { d, class: "halo", "stroke-width": size / 3 }));
    svg.append(shape("path", { d, "stroke-width": size / 5 }));
  }
  return svg;
}
