/* Systems and tables. */

const names = data.systems.map((system) => system.name);
const SHAPES = [
  "M-4 0a4 4 0 1 0 8 0a4 4 0 1 0-8 0z", // circle, square, triangle, diamond, plus
  "M-3.7-3.7h7.4v7.4h-7.4z",
  "M0-5 4.7 3.6H-4.7z",
  "M0-5.4 5.4 0 0 5.4-5.4 0z",
  "M-1.6-4.8h3.2v3.2h3.2v3.2h-3.2v3.2h-3.2v-3.2h-3.2v-3.2h3.2z",
];
const COLOURS = 6; // .s0 to .s5 of the style

function swatch(system) {
  const path = svg("path", { d: SHAPES[system % SHAPES.length] });
  return svg("svg", { class: `swatch s${system % COLOURS}`, viewBox: "-5 -5 10 10", "aria-hidden": "true" }, path);
}

// Each system's name, not within another word; the longer first, as one name may begin another.
const NAMES = new RegExp(`(?<![\\p{L}\\p{N}_-])(${
  [...names].sort((a, b) => b.length - a.length).map((name) => name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")).join("|")
})(?![\\p{L}\\p{N}_-])`, "u");

function mention(text) {
  // The text, each system's name in it beside the system's mark.
  return text.split(NAMES).map((part) => (names.includes(part)
    ? html("span", { class: "name" }, swatch(names.indexOf(part)), part) : part));
}

function drawTable(table, label, written = mention) {
  const kinds = table.columns.map((column) => (column.number ? { class: "number" } : {}));
  const head = table.columns.map((column, i) => html("th", { scope: "col", ...kinds[i] }, ...mention(column.title)));
  const rows = table.rows.map((row) =>
    html("tr", {}, ...row.map((text, i) =>
      html(i ? "td" : "th", { ...(i ? {} : { scope: "row" }), dir: "auto", ...kinds[i] }, ...written(text)))));
  const body = html("table", {}, html("thead", {}, html("tr", {}, ...head)), html("tbody", {}, ...rows));
  // Focusable, so that a table wider than the page can be moved by keys.
  const box = html("div", { class: "table", role: "region", tabindex: "0", "aria-label": label }, body);
  const helps = table.columns.filter((column) => column.help).map((column) => `${column.title}: ${column.help}`);
  return [box, ...(helps.length ? [html("p", { class: "print" }, `${helps.join(". ")}.`)] : [])];
}
