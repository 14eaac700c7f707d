/* A panel: the heatmap of a grid, with gold and links, and the cell that one points at.

   Its lines are the elements that hold the texts of source and target. Its marks are gold and links between the words
   of both: {words, links, sure, possible}, or null. */

const SIZES = { large: 20, middle: 14, small: 8 }; // pixels: side of a cell
const MANY = 32; // columns or rows, from which on cells are smaller
const LONGEST = 18; // graphemes of a label
const SLANT = 60; // degrees: of the labels above
const graphemes = new Intl.Segmenter();
const ruler = document.createElement("canvas").getContext("2d");
const panels = new WeakMap(); // of an svg: {grid, lines, texts, size, left, top, cell}

function textOf(characters, span) {
  return span ? characters.slice(...span).join("") : "</s>";
}

function labelOf(text) {
  // Spaces are seen, as a piece may begin with one; a byte of a character has no text of its own.
  const parts = [...graphemes.segment(text.replace(/\s/gu, "␣"))].map(({ segment }) => segment);
  if (!parts.length) return "·";
  return parts.length > LONGEST ? `${parts.slice(0, LONGEST).join("")}…` : parts.join("");
}

function measure(labels) {
  ruler.font = `bold 12px ${getComputedStyle(document.body).fontFamily}`;
  return labels.map((label) => ruler.measureText(label).width);
}

function layOut(grid, texts, labelled) {
  const many = Math.max(grid.rows.length, grid.columns.length) > MANY;
  const size = labelled ? SIZES[many ? "middle" : "large"] : SIZES.small;
  const [wide, high] = [grid.columns.length * size, grid.rows.length * size];
  if (!labelled) return { size, left: 1, top: 1, width: wide + 2, height: high + 2 };
  const [rows, columns] = [measure(texts.rows.map(labelOf)), measure(texts.columns.map(labelOf))];
  const angle = (SLANT * Math.PI) / 180;
  const left = Math.ceil(Math.max(0, ...rows)) + 8;
  const top = Math.ceil(Math.max(0, ...columns) * Math.sin(angle)) + 14;
  const over = columns.map((length, i) => (i + 0.5) * size + length * Math.cos(angle) + 14 - wide);
  return { size, left, top, width: left + wide + Math.ceil(Math.max(2, ...over)), height: top + high + 2 };
}

function drawLabels(texts, { size, left, top }) {
  return [
    ...texts.rows.map((text, i) => svg("text", { class: "row", "text-anchor": "end", x: left - 6,
      y: top + (i + 0.5) * size + 4 }, labelOf(text))),
    ...texts.columns.map((text, i) => svg("text", { class: "column",
      transform: `translate(${left + (i + 0.5) * size + 3} ${top - 6}) rotate(${-SLANT})` }, labelOf(text))),
  ];
}

function drawCells({ weights }, { size, left, top }) {
  // One path for all cells of a weight, in the digits that are told: a fifth of the elements that cells would be.
  const paths = new Map();
  weights.forEach((row, r) => row.forEach((weight, c) => {
    const cell = `M${left + c * size} ${top + r * size}h${size}v${size}h${-size}z`;
    paths.set(weight.toFixed(2), (paths.get(weight.toFixed(2)) ?? "") + cell);
  }));
  paths.delete("0.00");
  return [...paths].map(([weight, d]) => svg("path", { d, "fill-opacity": weight }));
}

function drawLines({ rows, columns }, { size, left, top }) {
  const [right, bottom] = [left + columns.length * size, top + rows.length * size];
  // Between small cells there would be more lines than cells.
  const steps = ({ length }) => (size > SIZES.small ? [...Array(length + 1).keys()] : [0, length]);
  return svg("path", { class: "lines", d: [
    ...steps(rows).map((i) => `M${left} ${top + i * size}H${right}`),
    ...steps(columns).map((i) => `M${left + i * size} ${top}V${bottom}`),
  ].join("") });
}

function drawMarks({ words, links, sure, possible }, grid, { size, left, top }) {
  // A word may have several rows or columns: gold outlines them all, a link stands in the cell of the most weight.
  const [columns, rows] = [grid.columns, grid.rows].map((spans, side) => blocksOf(spans, words[side]));
  const blocks = (text) => linksOf(text).map(([i, j]) => [columns[i], rows[j]])
    .filter(([across, down]) => across && down); // no words beyond what a model reads
  const outline = (kind) => ([across, down]) => svg("rect", { class: kind,
    x: left + across[0] * size + 1.5, width: (across[1] - across[0] + 1) * size - 3,
    y: top + down[0] * size + 1.5, height: (down[1] - down[0] + 1) * size - 3 });
  const dot = ([across, down]) => {
    let [best, row, column] = [-1, 0, 0];
    for (let r = down[0]; r <= down[1]; r++) {
      for (let c = across[0]; c <= across[1]; c++) {
        if (grid.weights[r][c] > best) [best, row, column] = [grid.weights[r][c], r, c];
      }
    }
    return svg("circle", { class: "link", r: Math.max(1.5, size / 7), cx: left + (column + 0.5) * size,
      cy: top + (row + 0.5) * size });
  };
  const outlines = [...blocks(possible).map(outline("possible")), ...blocks(sure).map(outline("sure"))];
  return [...outlines, ...blocks(links).map(dot)];
}

function drawPanel(grid, lines, title, labelled, marks = null) {
  const [source, target] = lines.map((line) => [...line.textContent]);
  const texts = {
    rows: grid.rows.map((span) => textOf(target, span)),
    columns: grid.columns.map((span) => textOf(source, span)),
  };
  const place = layOut(grid, texts, labelled);
  const { width, height, size } = place;
  const label = `Heatmap: ${title}. ${grid.rows.length} rows, ${grid.columns.length} columns; arrow keys tell weights.`;
  const cursor = svg("rect", { class: "cursor", width: size, height: size, visibility: "hidden" });
  const panel = svg("svg", { class: labelled ? "panel" : "panel small", width, height,
    viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: "0", "aria-label": label },
    ...(labelled ? drawLabels(texts, place) : []),
    svg("g", { class: "cells" }, ...drawCells(grid, place)), drawLines(grid, place),
    ...(marks ? drawMarks(marks, grid, place) : []), cursor);
  panels.set(panel, { grid, lines, texts, ...place });
  return panel;
}

/* The cell that one points at, and the same in the other panels of the sentence. */

const tip = document.getElementById("tip");
let lit = null; // the sentence with a cell that is pointed at
let pointer = null; // where it is, while it is what points

function cellAt(panel, x, y) {
  const { grid, left, top, size } = panels.get(panel);
  const at = new DOMPoint(x, y).matrixTransform(panel.getScreenCTM().inverse());
  const [row, column] = [Math.floor((at.y - top) / size), Math.floor((at.x - left) / size)];
  return row in grid.rows && column in grid.columns ? [row, column] : null;
}

function sameSpan(spans, span) {
  // Others may be cut otherwise: the one in which this one's middle lies.
  if (!span) return spans.indexOf(null);
  const middle = (span[0] + span[1]) / 2;
  const same = spans.findIndex((each) => each && each[0] === span[0] && each[1] === span[1]);
  return same >= 0 ? same : spans.findIndex((each) => each && each[0] <= middle && middle < each[1]);
}

function mark(panel, row, column) {
  const { grid, left, top, size } = panels.get(panel);
  const there = row in grid.rows && column in grid.columns;
  const cursor = panel.querySelector(".cursor");
  cursor.setAttribute("visibility", there ? "visible" : "hidden");
  cursor.setAttribute("x", left + column * size);
  cursor.setAttribute("y", top + row * size);
  for (const each of panel.querySelectorAll("text.here")) each.classList.remove("here");
  panel.querySelectorAll("text.row")[row]?.classList.add("here");
  panel.querySelectorAll("text.column")[column]?.classList.add("here");
  panel.closest("figure").querySelector(".value").textContent = there ? grid.weights[row][column].toFixed(2) : "";
  return there;
}

function lightCell(panel, [row, column], x, y) {
  const own = panels.get(panel);
  const article = panel.closest("article");
  if (lit !== article) dimCells();
  lit = article;
  for (const other of article.querySelectorAll("svg.panel")) {
    const { grid, lines } = panels.get(other);
    const same = (spans, span, side) => (lines[side] === own.lines[side] ? sameSpan(spans, span) : -1);
    const cell = other === panel ? [row, column]
      : [same(grid.rows, own.grid.rows[row], 1), same(grid.columns, own.grid.columns[column], 0)];
    other.classList.add("lit");
    if (mark(other, ...cell)) panels.get(other).cell = cell; // from which keys go on
  }
  const [source, target] = [own.texts.columns[column], own.texts.rows[row]];
  tip.replaceChildren(html("bdi", {}, source), " → ", html("bdi", {}, target), " ",
    html("b", {}, own.grid.weights[row][column].toFixed(2)));
  tip.hidden = false;
  const room = document.documentElement.clientWidth - tip.offsetWidth - 4;
  tip.style.left = `${Math.max(4, Math.min(x + 14, room))}px`;
  tip.style.top = `${y + 18 + tip.offsetHeight > innerHeight ? y - 12 - tip.offsetHeight : y + 18}px`;
  markTexts(own.lines, [own.grid.columns[column], own.grid.rows[row]]);
}

function lightByKey(panel, row, column) {
  const { grid, left, top, size } = panels.get(panel);
  if (!(row in grid.rows && column in grid.columns)) return;
  mark(panel, row, column);
  panel.querySelector(".cursor").scrollIntoView({ block: "nearest", inline: "nearest" });
  const at = new DOMPoint(left + (column + 0.5) * size, top + (row + 0.5) * size).matrixTransform(panel.getScreenCTM());
  lightCell(panel, [row, column], at.x, at.y);
}

function lightUnder({ x, y }) {
  const panel = document.elementFromPoint(x, y)?.closest("#list svg.panel");
  const cell = panel && cellAt(panel, x, y);
  if (cell) lightCell(panel, cell, x, y);
  else dimCells();
}

function dimCells() {
  for (const panel of lit?.querySelectorAll("svg.panel") ?? []) {
    panel.classList.remove("lit");
    mark(panel, -1, -1);
  }
  lit = null;
  tip.hidden = true;
  CSS.highlights?.delete("here");
}

function markTexts(lines, spans) {
  // The words in the running text: an order of reading that a grid does not show.
  if (!CSS.highlights) return;
  const ranges = lines.flatMap((line, side) => {
    const span = spans[side];
    const units = (count) => [...line.textContent].slice(0, count).join("").length;
    return span ? [rangeOf(line, units(span[0]), units(span[1]))] : [];
  });
  CSS.highlights.set("here", new Highlight(...ranges));
}

function panelKeys(panel) {
  const [row, column] = panels.get(panel).cell ?? [0, 0];
  return {
    ArrowDown: () => lightByKey(panel, row + 1, column),
    ArrowUp: () => lightByKey(panel, row - 1, column),
    ArrowRight: () => lightByKey(panel, row, column + 1),
    ArrowLeft: () => lightByKey(panel, row, column - 1),
    Escape: () => panel.closest("article").focus(),
  };
}

function startPanels() {
  const follow = ({ clientX: x, clientY: y }) => lightUnder(pointer = { x, y });
  for (const kind of ["pointermove", "pointerdown"]) list.addEventListener(kind, follow);
  list.addEventListener("pointerleave", () => {
    pointer = null;
    dimCells();
  });
  addEventListener("keydown", () => { pointer = null; });
  addEventListener("scroll", () => pointer && lightUnder(pointer), { passive: true, capture: true }); // heatmaps', too
  list.addEventListener("focusin", ({ target }) => {
    if (!target.matches("svg.panel")) return dimCells();
    if (!target.matches(".lit")) lightByKey(target, ...(panels.get(target).cell ?? [0, 0]));
  });
  list.addEventListener("focusout", dimCells);
}
