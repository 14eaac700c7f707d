/* Which sentences are shown, in which order, and what of each. */

const BATCH = 8; // sentences drawn at once, of maybe a hundred heatmaps each; the next as the reader nears their end
const forms = [choices];
const SORTS = {
  error: "error rate", disagreement: "disagreement", crossing: "crossing links", line: "line number", words: "length",
};
const UPWARDS = ["line", "words"]; // sorted by them, the lowest come first
let drawnAs = ""; // the choices that the articles were drawn by

function offerChoices() {
  const { sort, of } = choices.elements;
  offerReadings(choices.elements);
  const known = { error: data.worths, disagreement: data.systems.length > 1, crossing: true, line: true, words: true };
  sort.append(...Object.keys(SORTS).filter((key) => known[key]).map((key) => option(key, SORTS[key])));
  sort.value = data.sort;
  choices.elements.order.value = UPWARDS.includes(data.sort) ? "up" : "down";
  of.append(...(data.combined ? [option("combined", data.combined)] : []), ...names.map((name, i) => option(i, name)));
  of.parentElement.hidden = of.options.length < 2;
  // What a reset goes back to is what the page itself says.
  for (const each of [...sort.options, ...choices.elements.order.options]) each.defaultSelected = each.selected;
}

/* A sentence. */

function combinedGrid(sentence) {
  // The geometric mean of both directions, by words: their pieces need not be the same.
  const grids = [0, data.systems.length - 1].map((index) =>
    gridOf(data.systems[index], sentence.systems[index], sentence.words, data.systems[index].readings[0], true));
  const [columns, rows] = sentence.words;
  const weights = rows.map((_, row) => columns.map((_, column) =>
    Math.sqrt(grids[0].weights[row][column] * grids[1].weights[row][column])));
  return { rows, columns, weights };
}

function drawCombined(sentence, { words, lines, gold }) {
  const marks = { words, links: sentence.combined.links, sure: "", possible: "", ...gold };
  const panel = drawPanel(combinedGrid(sentence), lines, `${data.combined}, both directions`, true, marks);
  return drawHeatmap(panel, [data.combined], ["both directions, by words", worthOf(sentence.combined)]);
}

function drawSentence(sentence) {
  const facts = [`Line ${number(sentence.line)}`];
  if (sentence.disagreement !== null) facts.push(`disagreement ${percent(sentence.disagreement)}`);
  const lines = [sentence.source, sentence.target].map((content) =>
    html("p", { class: content ? "text" : "text empty", dir: "auto" }, content));
  const shown = { words: sentence.words, lines, gold: sentence.gold };
  const systems = sentence.systems.flatMap((part, index) => drawSystem(index, part, shown, choices.elements));
  const combined = sentence.combined && choices.elements.layer.value === "own" ? [drawCombined(sentence, shown)] : [];
  return html("article", { tabindex: "-1", "aria-label": facts.join(", ") },
    html("h3", {}, facts.join(" · ")), ...lines, html("div", { class: "panels" }, ...systems, ...combined));
}

/* Which sentences. */

function prepare(sentence) {
  sentence.haystack = [sentence.source, sentence.target].join("\n").normalize().toLowerCase();
  sentence.length = sentence.words[0].length;
}

function valueOf(sentence, key) {
  if (key === "words") return sentence.length;
  if (key === "line" || key === "disagreement") return sentence[key];
  const of = choices.elements.of.value;
  if (of === "combined") return sentence.combined[key];
  const places = readingsShown(data.systems[of], choices.elements);
  return sentence.systems[of].readings[places.length === 1 ? places[0] : 0][key];
}

function choose() {
  const { sort, order } = choices.elements;
  const as = readingsChosen(choices.elements);
  if (as !== drawnAs) articles = new WeakMap();
  drawnAs = as;
  const wanted = terms();
  const sign = order.value === "up" ? 1 : -1;
  const found = data.sentences.filter((sentence) => wanted.every((term) => sentence.haystack.includes(term)))
    .sort((a, b) => sign * (valueOf(a, sort.value) - valueOf(b, sort.value)) || a.line - b.line);
  dimCells();
  showSentences(found, data.sentences.length);
}

function restore() {
  readAddress();
  choose();
}

/* Keys. */

function keysInside(article, { j, k }) {
  const panel = document.activeElement.closest("svg.panel");
  const first = () => article.querySelector("svg.panel")?.focus();
  return panel ? panelKeys(panel) : { ArrowDown: j, ArrowUp: k, ArrowRight: first, Enter: first };
}

/* The page. */

function errorTables() {
  // Of each system the error rate of each layer and head.
  return data.systems.filter(({ layers }) => layers).flatMap(({ name, layers, heads, readings }) => {
    const columns = [null, ...(heads > 1 ? Array(heads).keys() : [])].map((head) => (head === null ? null : head + 1));
    const rows = [...Array(layers).keys()].flatMap((layer) => [0, 1].map((shift) => [
      `layer ${layer + 1}, ${shift ? "having read it" : "predicting"}`,
      ...columns.map((head) => {
        const of = (each) => each.layer === layer + 1 && each.head === head && each.shift === shift;
        return percent(readings.find(of).error);
      })]));
    const titles = columns.map((head) => ({ title: head === null ? "mean" : `head ${head}`, number: true }));
    return drawTable({ columns: [{ title: name }, ...titles], rows }, `Error rates of ${name}`);
  });
}

function drawPage() {
  document.title = `Alignments: ${data.title}`;
  show("title", `Alignments: ${data.title}`);
  show("facts", ...data.facts.map((fact) => html("p", {}, fact)));
  show("systems", ...data.systems.map(({ name, description }) =>
    html("li", {}, html("b", {}, ...mention(name)), " ", html("span", { class: "about" }, description))));
  show("notes", ...data.notes.map((note) => html("p", {}, "Note: ", note)));
  show("worths", ...(data.worths ? drawTable(data.worths, "Error rates") : []));
  const tables = data.worths ? errorTables() : [];
  show("errors", ...tables);
  document.getElementById("every-error").hidden = !tables.length;
  for (const each of document.querySelectorAll(".of-gold")) each.hidden = !data.worths;
  show("footer", `Made ${data.made}.`);
}

function start() {
  drawPage();
  offerChoices();
  data.sentences.forEach(prepare);
  choices.elements.sort.addEventListener("input", ({ target }) => {
    choices.elements.order.value = UPWARDS.includes(target.value) ? "up" : "down"; // what one looks for
  });
  startPanels();
  offerThemes();
  startGallery();
}

start();
